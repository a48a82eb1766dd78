import pytest

from zenoti_ingest.core.configuration.secret_text import UnusableSecret, secret, secrets_in


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hush", ("hush",)),
        (b"hush\n", ("hush",)),
        (b"hush \t\r\n", ("hush",)),
        (b"\xef\xbb\xbfhush\r\n", ("hush",)),
        (b"\xef\xbb\xbf\xef\xbb\xbfhush", ("hush",)),
        (b"\xef\xbb\xbf one\r\n\r\n two \r\xef\xbb\xbfthree\n\n", ("one", "two", "three")),
        ("a b,ü\u2028x\u00a0".encode(), ("a b,ü\u2028x\u00a0",)),
    ],
)
def test_secrets_in_a_file(content: bytes, expected: tuple[str, ...]) -> None:
    """A secret per line; line ends of any system, blanks around it, empty lines and a BOM are none of it."""
    assert secrets_in(content) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no secret"),
        (b" \r\n\t\n", "no secret"),
        (b"\xef\xbb\xbf\n", "no secret"),
        (b"hush\xff", "not UTF-8"),
        ("hush\n".encode("utf-16"), "not UTF-8"),
        ("hush".encode("utf-16-le"), "control character"),
        (b"good\nhu\x1bsh\n", "control character"),
        (b"hu\tsh", "control character"),
    ],
)
def test_no_secrets_in_a_file(content: bytes, reason: str) -> None:
    """What cannot be used is said, and not shown."""
    with pytest.raises(UnusableSecret, match=reason) as refused:
        secrets_in(content)
    assert "hu" not in str(refused.value)


def test_one_secret() -> None:
    """The configuration's own texts are read like a line of a file."""
    assert secret("\ufeff a,b ") == "a,b"
