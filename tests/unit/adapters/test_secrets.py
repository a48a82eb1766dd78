import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.eventually import eventually
from zenoti_ingest.adapters import secrets
from zenoti_ingest.adapters.secrets import MAX_BYTES, Secret
from zenoti_ingest.core.failures.errors import WrongSettings

HUSH = "hush-4711"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test's secret stands."""
    return tmp_path / "secret"


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read whenever its values are asked for."""
    monkeypatch.setattr(secrets, "FILE_POLL_SECONDS", 0.0)


def read(file: Path) -> Secret:
    """The secret in the file."""
    return Secret(key="sources.main.api_key", file=str(file))


def test_a_bom_is_none_of_it(file: Path) -> None:
    """Nor are line ends of another system, and blanks at the ends."""
    file.write_bytes(b"\xef\xbb\xbfone\r\n two \r\n\r\n")
    assert read(file).values() == (b"one", b"two")
    assert read(file).texts() == ("one", "two")


CHANGES: dict[str, Callable[[Path], object]] = {
    "in place": lambda file: file.write_bytes(b"two"),
    "by another file": lambda file: beside(file, b"two").replace(file),
    "by another link": lambda file: link(beside(file, b"two")).replace(file),
}


def beside(file: Path, content: bytes) -> Path:
    """Another file."""
    other = file.with_name("other")
    other.write_bytes(content)
    return other


def link(file: Path) -> Path:
    """A link to it, as Kubernetes puts secrets in place."""
    made = file.with_name("link")
    made.symlink_to(file)
    return made


@pytest.mark.usefixtures("looks_at_once")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_equal_size_and_time(file: Path, change: Callable[[Path], object]) -> None:
    """Secrets of one length are usual, and so are tools that set the time of what they write."""
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18, 10**18))
    found = read(file)
    assert found.values() == (b"one",)
    change(file)
    os.utime(file, ns=(10**18, 10**18))
    assert found.values() == (b"two",)


def changed(file: Path) -> Secret:
    """A secret whose file has changed since it was read."""
    file.write_bytes(b"one")
    found = read(file)
    file.write_bytes(b"two")
    return found


async def test_it_is_looked_at_every_second(file: Path) -> None:
    """A rotation counts within a second or so, and costs no look at each request."""
    found = changed(file)
    assert found.values() == (b"one",)
    await eventually(lambda: found.values() == (b"two",), within=5)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "No such file"),
    "a folder": (lambda file: file.mkdir(), "is not a file"),
    "a pipe": (os.mkfifo, "is not a file"),
    "empty": (lambda file: file.write_bytes(b""), "holds no secret"),
    "blank": (lambda file: file.write_bytes(b" \r\n\xef\xbb\xbf\n"), "holds no secret"),
    "not UTF-8": (lambda file: file.write_bytes(HUSH.encode() + b"\xff"), "is not UTF-8"),
    "UTF-16": (lambda file: file.write_bytes(HUSH.encode("utf-16")), "is not UTF-8"),
    "UTF-16 without a BOM": (lambda file: file.write_bytes(HUSH.encode("utf-16-le")), "UTF-16"),
    "a control character": (lambda file: file.write_bytes(HUSH.encode() + b"\x1b[m"), "control character"),
    "too large": (lambda file: file.write_bytes(HUSH.encode() * MAX_BYTES), "is larger than"),
}


@pytest.mark.parametrize(("make", "fault"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_used(file: Path, make: Callable[[Path], object], fault: str) -> None:
    """The start is refused in one line that names key and file, and shows nothing of the secret."""
    make(file)
    with pytest.raises(WrongSettings, match=fault) as refused:
        read(file)
    assert f"sources.main.api_key_file = {str(file)!r}" in str(refused.value)
    assert HUSH not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("looks_at_once")
@pytest.mark.parametrize(("spoil", "fault"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_used_any_more(file: Path, spoil: Callable[[Path], object], fault: str) -> None:
    """The last values count until it can be used again."""
    file.write_bytes(b"one")
    found = read(file)
    file.unlink()
    spoil(file)
    assert found.values() == (b"one",)
    assert fault in found.fault
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    file.write_bytes(b"two")
    assert found.values() == (b"two",)
    assert found.fault == ""


@pytest.mark.usefixtures("looks_at_once")
def test_a_file_that_is_not_required(file: Path) -> None:
    """It may come later; until then there is no value."""
    found = Secret(key="broker.url", file=str(file), required=False)
    assert found.values() == ()
    assert "broker.url_file" in found.fault
    file.write_bytes(b"amqp://h")
    assert found.texts() == ("amqp://h",)


def test_it_shows_nothing(file: Path) -> None:
    """Neither given nor read."""
    file.write_text(HUSH)
    for found in (read(file), Secret(key="k", given=(HUSH,))):
        assert HUSH not in f"{found!r} {found}"
