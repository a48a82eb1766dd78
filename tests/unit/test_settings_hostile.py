"""Every setting with values that nobody means: each is refused in a single line, or a daemon can use it."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from zenoti_ingest.app.broker import full_topology
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.topology.declared import Exchange, Queue
from zenoti_ingest.settings import ENV_PREFIX, SecretSpec, Settings, ignored, load

HUSH = "hush-4711"
HUGE = 10**20
TEXTS = (
    "", " ", "\n", "x\n", "127.0.0.1\n", "zenoti\n", "a\nb", "a\0b", "a\x1b[31mb", "x" * 300, "é" * 200, "nan", "inf",
    "-inf", "1e400", "-1", "0", "0.0", "1e-320", str(HUGE), "null", "true", "[]", "{}", "#", "**", "a*", ",", "..",
    "amq.topic", "http://h:99999", "http://h:0", "http://a b/", "http://" + "a" * 64, "http://u:p@h/", "http://[::1",
)  # fmt: skip
OTHERS = (0, -1, 1, HUGE, -HUGE, 10**400, 1.5, 1e-320, math.nan, math.inf, -math.inf, True, False)
NESTED: tuple[Any, ...] = ([], [""], ["a\nb"], ["x" * 300], [1], [True], [["x"]], {}, {"a": 1}, {"b": {"c": "d"}})


def keys() -> Iterator[str]:
    """Every key as one writes it; beneath `sources` and `downstream` those of one named `main`."""
    for section in msgspec.structs.fields(Settings):
        inner = get_args(section.type)
        path = f"{section.name}.main" if inner else section.name
        for field in msgspec.structs.fields(inner[-1] if inner else section.type):
            yield f"{path}.{field.name}"
            if get_args(field.type)[0] is SecretSpec:
                yield f"{path}.{field.name}_file"


KEYS = tuple(keys())


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    match value:
        case bool() | str():
            return json.dumps(value)
        case float():
            return str(value)
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{name} = {toml(each)}' for name, each in value.items())}}}"
    return str(value)


def leaf(settings: Any, key: str) -> Any:
    """The value of a dotted key; of `x_file` what `x` became."""
    for word in key.removesuffix("_file").split("."):
        settings = settings[word] if isinstance(settings, dict) else getattr(settings, word)
    return settings


def judge(found: Any) -> None:
    """What was let in is of use: numbers within bounds, texts without blanks around them or controls in them."""
    match found:
        case None | bool():
            return
        case int():
            assert 0 <= found < 2**63
        case float():
            assert 0 <= found <= 86_400
        case str():
            assert found.strip() == found
            assert not re.search(r"[\x00-\x1f\x7f]", found)
            assert 0 < len(found.encode()) <= 400
        case tuple():
            for each in found:
                judge(each)
        case SecretSpec():
            assert found.given or found.file
            for each in (*found.given, *filter(None, [found.file])):
                assert each
                assert not re.search(r"[\x00-\x1f\x7f]", each)
        case _:
            raise AssertionError(f"{type(found).__name__} was let in")


def carried(settings: Settings) -> None:
    """AMQP can carry every name and number of the topology."""
    topology = full_topology(settings)
    things: list[Exchange | Queue] = [*topology.exchanges, *topology.queues]
    for name in [thing.name for thing in things] + [key.routing_key for key in topology.bindings]:
        assert len(name.encode()) <= 255
    for thing in things:
        assert all(abs(value) < 2**63 for value in thing.arguments.values() if isinstance(value, int))
    assert len({queue.name for queue in topology.queues}) == len(topology.queues)


def refused_or_of_use(path: str | None, environ: dict[str, str], key: str) -> None:
    """One line that names the key; or settings that a daemon can use."""
    try:
        found = load(path=path, environ=environ)
    except WrongSettings as error:
        text = str(error)
        assert key.removesuffix("_file") in text
        assert text.isprintable()
        return
    if key.split(".")[1] == "main" and "main" not in leaf(found, key.partition(".")[0]):
        return  # an empty table is no source and no receiver
    judge(leaf(found, key))
    carried(found)


@pytest.mark.parametrize("key", KEYS)
def test_in_the_environment(key: str) -> None:
    """Each text, as each key's variable."""
    for text in TEXTS:
        refused_or_of_use(None, {ENV_PREFIX + key.upper().replace(".", "__"): text}, key)


@pytest.mark.parametrize("key", KEYS)
def test_in_the_file(key: str, tmp_path: Path) -> None:
    """Each text, number, list and table, as each key's value."""
    file = tmp_path / "worker.toml"
    table, _, word = key.rpartition(".")
    for value in (*TEXTS, *OTHERS, *NESTED):
        file.write_text(f"[{table}]\n{word} = {toml(value)}\n", encoding="utf-8")
        refused_or_of_use(str(file), {}, key)


@pytest.mark.parametrize("section", [field.name for field in msgspec.structs.fields(Settings)])
@pytest.mark.parametrize("value", [*TEXTS, *OTHERS, *(value for value in NESTED if value != {})], ids=repr)
def test_instead_of_a_section(section: str, value: Any, tmp_path: Path) -> None:
    """A value where a table should be, or a table of something else."""
    file = tmp_path / "worker.toml"
    file.write_text(f"{section} = {toml(value)}\n", encoding="utf-8")
    with pytest.raises(WrongSettings) as refused:
        load(path=str(file), environ={})
    assert section in str(refused.value)
    assert str(refused.value).isprintable()


HOSTS = [key for key in KEYS if key.endswith("host")]


@pytest.mark.parametrize("key", HOSTS)
@pytest.mark.parametrize("host", ["", " ", "a b", "a" * 64, "a..b", ".", "h:80", "[::1]", "http://h", "\u202eh", "::g"])
def test_a_host_that_is_none(key: str, host: str) -> None:
    """Above all an empty host: it would listen on every address."""
    with pytest.raises(WrongSettings, match=re.escape(key)):
        load(path=None, environ={ENV_PREFIX + key.upper().replace(".", "__"): host})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "a_b.c-d", "bücher.example"])  # noqa: S104  # examples
def test_a_host_that_is_one(host: str) -> None:
    """Addresses and names; all addresses where they are asked for."""
    assert load(path=None, environ={f"{ENV_PREFIX}INTAKE__HOST": host}).intake.host == host


GOOD_URLS = ["http://h", "https://h:1/a/b", "https://h:65535", "http://[::1]:80/", "http://a_b.c.", "http://bücher.de/"]
BAD_URLS = [
    "http://h:65536", "http://h:0", "http://h:x", "http://h:-1", "http://h:8 0", "http://", "http:///x", "http://a b/",
    "http://h/a b", "http://h\n", f"http://{'a' * 64}.de", "http://a..b", "http://.", "http://[::1", "http://h\0/",
    "http://u:p@h/", "http://@h/", "http://h?q", "http://h#f", "ftp://h", "//h", "h", "http://\u202eh/", "http://xn--/",
    "http://h%20x/", f"http://{'a.' * 127}b/", "HTTP:/h",
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_base_url_that_is_one(url: str) -> None:
    """Whatever a call can go to."""
    assert load(path=None, environ={f"{ENV_PREFIX}SOURCES__MAIN__BASE_URL": url}).sources["main"].base_url == url


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_base_url_that_is_none(url: str) -> None:
    """It is refused at the start, and not by whatever library meets it first."""
    with pytest.raises(WrongSettings, match=re.escape("sources.main.base_url")) as refused:
        load(path=None, environ={f"{ENV_PREFIX}SOURCES__MAIN__BASE_URL": url})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("key", ["BROKER__URL", "BROKER__MANAGEMENT_URL"])
@pytest.mark.parametrize(
    "rest",
    ["h:0", "h:65536", "h:x", "a b/", "h/a b", "a..b", "a" * 64, "[::1", "h\0", "/", f"h/{'v' * 256}#f", "h#f"],
)
def test_a_url_with_a_password_is_not_shown(key: str, rest: str) -> None:
    """It is refused by its key alone."""
    scheme = "http" if "MANAGEMENT" in key else "amqp"
    with pytest.raises(WrongSettings, match=key.lower().replace("__", ".")) as refused:
        load(path=None, environ={ENV_PREFIX + key: f"{scheme}://user:{HUSH}@{rest}"})
    assert HUSH not in str(refused.value)
    assert "user:" not in str(refused.value).replace("user:password@", "")


@pytest.mark.parametrize("query", ["heartbeat=x", "heartbeat=0", "heartbeat=-1", "heartbeat=3601", "heartbeat="])
def test_a_heartbeat_that_is_none(query: str) -> None:
    """The library takes it for none at all, in silence: then nobody notices a connection that is half open."""
    with pytest.raises(WrongSettings, match="heartbeat"):
        load(path=None, environ={f"{ENV_PREFIX}BROKER__URL": f"amqp://h/?{query}"})
    assert load(path=None, environ={f"{ENV_PREFIX}BROKER__URL": "amqp://h/?heartbeat=10"})


def test_a_management_user_with_a_colon() -> None:
    """Basic authentication cannot carry a colon."""
    with pytest.raises(WrongSettings, match="colon"):
        load(path=None, environ={f"{ENV_PREFIX}BROKER__MANAGEMENT_URL": "http://us%3Aer:p@h"})


OURS = [
    "raw.main", "raw.other", "enrich.main.0", "enrich.main.0.turn", "retry.5s", "retry.7s", "dead", "archive", "state",
    "unrouted", "wait.crm", "wait.other", "for.crm", "to.crm", "work", "intake", "events", "raw.main.witness.x",
]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("declare", ["true", "false"])
def test_a_queue_of_ours_is_no_receivers(name: str, declare: str) -> None:
    """Its events would come in again, be settled by us, or be lost."""
    environ = {"BROKER__PREFIX": "p.q", "DOWNSTREAM__CRM__QUEUE": f"p.q.{name}", "DOWNSTREAM__CRM__DECLARE": declare}
    with pytest.raises(WrongSettings, match=re.escape(f"downstream.crm.queue = 'p.q.{name}'")):
        load(path=None, environ={ENV_PREFIX + key: value for key, value in environ.items()})


@pytest.mark.parametrize(
    "name", ["zenoti.out.crm", "zenoti.out.free", "zenoti.crm", "other.raw.main", "raw.main", "q r"]
)
def test_a_queue_of_the_receivers(name: str) -> None:
    """Everything else is theirs to name."""
    found = load(path=None, environ={f"{ENV_PREFIX}DOWNSTREAM__CRM__QUEUE": name})
    carried(found)


@pytest.mark.parametrize("queue", ["amq.gen-1", "amq.x", "", " ", " q", "q ", "q\n", "a\0b", "x" * 256, "é" * 128])
def test_a_queue_that_is_none(queue: str) -> None:
    """Names that a broker refuses, or that nobody means."""
    with pytest.raises(WrongSettings, match=re.escape("downstream.crm.queue")):
        load(path=None, environ={f"{ENV_PREFIX}DOWNSTREAM__CRM__QUEUE": queue})


@pytest.mark.parametrize("queue", ["zenoti.out.other", "theirs"])
def test_two_receivers_with_one_queue(queue: str) -> None:
    """It would get twice what both want, and a receiver that refuses would delay the other."""
    environ = {"DOWNSTREAM__CRM__QUEUE": queue, "DOWNSTREAM__OTHER__EVENTS": "#"}
    environ |= {} if queue == "zenoti.out.other" else {"DOWNSTREAM__OTHER__QUEUE": queue}
    with pytest.raises(WrongSettings, match="each receiver its own"):
        load(path=None, environ={ENV_PREFIX + key: value for key, value in environ.items()})


@pytest.mark.parametrize("prefix", ["amq", "amq.x", "a" * 65, "a\n", "", ".a"])
def test_a_prefix_that_is_none(prefix: str) -> None:
    """What begins with `amq.` is the broker's own, and so would be every name."""
    with pytest.raises(WrongSettings, match=re.escape("broker.prefix")):
        load(path=None, environ={f"{ENV_PREFIX}BROKER__PREFIX": prefix})


@pytest.mark.parametrize("name", ["main\n", "ma\nin", "main ", "Main", "1a", "a__b", "", "a" * 33, "é"])
@pytest.mark.parametrize("section", ["sources", "downstream"])
def test_a_name_that_is_none(section: str, name: str, tmp_path: Path) -> None:
    """Of a source or a receiver: a name with a line end is none either."""
    key = "insecure" if section == "sources" else "declare"
    file = tmp_path / "worker.toml"
    file.write_text(f"[{section}.{toml(name)}]\n{key} = true\n", encoding="utf-8")
    with pytest.raises(WrongSettings, match="is not a name") as refused:
        load(path=str(file), environ={})
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("pattern", ["invoice*", "*.#x", "a.**", "x\n", "x" * 201])
@pytest.mark.parametrize(("table", "key"), [("sources.main", "enrich"), ("downstream.crm", "events")])
def test_a_pattern_that_matches_nothing(table: str, key: str, pattern: str, tmp_path: Path) -> None:
    """A wildcard is a word of its own."""
    file = tmp_path / "worker.toml"
    file.write_text(f"[{table}]\n{key} = {toml([pattern])}\n", encoding="utf-8")
    with pytest.raises(WrongSettings, match=re.escape(f"{table}.{key}")):
        load(path=str(file), environ={})


@pytest.mark.parametrize("number", ["0", "1e-3", "1e-320"])
def test_a_pace_that_is_none(number: str) -> None:
    """A call in a hundred minutes is the least: what is slower only looks as if it worked."""
    with pytest.raises(WrongSettings, match=re.escape("sources.main.calls_per_minute")):
        load(path=None, environ={f"{ENV_PREFIX}SOURCES__MAIN__CALLS_PER_MINUTE": number})


def test_the_largest_numbers_that_amqp_carries() -> None:
    """They are good; one more is not."""
    environ = {
        f"{ENV_PREFIX}ARCHIVE__MAX_BYTES": str(2**63 - 1),
        f"{ENV_PREFIX}DOWNSTREAM__CRM__MAX_BYTES": str(2**63 - 1),
    }
    carried(load(path=None, environ=environ))
    for name in environ:
        with pytest.raises(WrongSettings, match=r"max_bytes"):
            load(path=None, environ={name: str(2**63)})


@pytest.mark.parametrize("key", ["API_KEY", "WEBHOOK_SECRET", "WEBHOOK_TOKEN"])
@pytest.mark.parametrize("given", [f"{HUSH}\nb", f"{HUSH}\x00", f"{HUSH}\x1b[m", f"a\rb{HUSH}"])
def test_a_secret_of_several_lines(key: str, given: str) -> None:
    """No header can carry it: it is refused by its key, and not shown."""
    with pytest.raises(WrongSettings, match=f"sources.main.{key.lower()}") as refused:
        load(path=None, environ={f"{ENV_PREFIX}SOURCES__MAIN__{key}": given})
    assert HUSH not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 5000, "a = " + "[" * 5000, "a = " + "9" * 5000, "a.b.c = 1\na.b = 2"])
def test_a_file_that_is_no_configuration(text: str, tmp_path: Path) -> None:
    """Whatever it does to the reader of TOML, it ends in one line."""
    file = tmp_path / "worker.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(WrongSettings, match="is not TOML") as refused:
        load(path=str(file), environ={})
    assert "\n" not in str(refused.value)


def test_a_file_with_a_bom(tmp_path: Path) -> None:
    """Some editors put one before every text."""
    file = tmp_path / "worker.toml"
    file.write_bytes(b'\xef\xbb\xbf[broker]\r\nprefix = "p"\r\n')
    assert load(path=str(file), environ={}).broker.prefix == "p"


def test_a_key_beneath_a_key_is_refused_in_any_order() -> None:
    """Neither of the two takes the other's place in silence."""
    pair = [(f"{ENV_PREFIX}INTAKE__PORT", "1"), (f"{ENV_PREFIX}INTAKE__PORT__X", "2")]
    for environ in (dict(pair), dict(reversed(pair))):
        with pytest.raises(WrongSettings, match="not a table"):
            load(path=None, environ=environ)


MISSPELT = [
    ("BROKER_URL", "BROKER__URL"), ("BROKER_URI", "BROKER__URL"), ("BROKER_URL_FILE", "BROKER__URL_FILE"),
    ("INTAKE_PORT", "INTAKE__PORT"), ("LOGLEVEL", "LOG__LEVEL"), ("SOURCES_MAIN_API_KEY", "SOURCES__MAIN__API_KEY"),
    ("SOURCE_SPA_2_WEBHOOK_SECRET", "SOURCES__SPA_2__WEBHOOK_SECRET"),
    ("DOWNSTREAM_CRM_QUEUE", "DOWNSTREAM__CRM__QUEUE"),
    ("CONFIG_FILE", "CONFIG"), ("broker_url", "BROKER__URL"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wanted"), MISSPELT)
def test_a_misspelt_name_is_reported(name: str, wanted: str) -> None:
    """It sets nothing; what may be meant is said, the value never."""
    assert list(ignored({ENV_PREFIX + name: HUSH})) == [(ENV_PREFIX + name, ENV_PREFIX + wanted)]
    assert load(path=None, environ={ENV_PREFIX + name: HUSH}) == Settings()


INJECTED = {
    "SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80", "PORT": "tcp://10.0.0.1:80",
    "PORT_8080_TCP": "tcp://10.0.0.1:8080", "PORT_8080_TCP_PROTO": "tcp", "PORT_8080_TCP_PORT": "8080",
    "PORT_8080_TCP_ADDR": "10.0.0.1", "INTAKE_PORT": "tcp://10.0.0.1:8080", "INTAKE_SERVICE_HOST": "10.0.0.1",
    "INTAKE_SERVICE_PORT": "8080", "INTAKE_PORT_8080_TCP_ADDR": "10.0.0.1", "BROKER_SERVICE_PORT_AMQP": "5672",
    "BROKER_PORT": "udp://10.0.0.1:1", "CONFIG": "/x", "IMAGE_TAG": "1.0", "INTAKE_REPLICAS": "2", "VERSION": "1",
}  # fmt: skip


@pytest.mark.parametrize("name", INJECTED)
def test_what_an_orchestrator_injects_is_no_slip(name: str) -> None:
    """Kubernetes puts such names into every container beside a service of ours."""
    assert list(ignored({ENV_PREFIX + name: INJECTED[name]})) == []
