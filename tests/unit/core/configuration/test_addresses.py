import pytest

from zenoti_ingest.core.configuration.addresses import host_fault, url_fault

HTTP = ("http", "https")


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "fe80::1%eth0", "localhost", "a.b-c_d", "a.", "bücher.de", "123"])
def test_a_host(host: str) -> None:
    """An address or a name."""
    assert not host_fault(host)


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("", "empty"),
        (" ", "empty"),
        ("x y", "blank"),
        ("a\n", "blank"),
        ("\u202ea", "control"),
        ("h:80", "not a host name"),
        ("a" * 64, "not a host name"),
        ("a..b", "not a host name"),
        ("a." * 127, "not a host name"),
        ("h%20x", "not a host name"),
        ("ü" * 64, "not a host name"),
    ],
)
def test_no_host(host: str, fault: str) -> None:
    """What is wrong with it is said without it."""
    text = host_fault(host)
    assert fault in text
    assert not host.strip() or host not in text


@pytest.mark.parametrize("url", ["http://h", "https://u:p@h:1/a?b", "HTTP://h", "http://[::1]:65535/", "http://h:/"])
def test_a_url(url: str) -> None:
    """What can be called."""
    assert not url_fault(url, schemes=HTTP)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("amqp://h", "http:// or https://"),
        ("h", "http:// or https://"),
        ("http://", "host is empty"),
        ("http://h:0", "port"),
        ("http://h:99999", "port"),
        ("http://h:x", "port"),
        ("http://[::1", "port"),
        ("http://u:hush@h:0", "port"),
        ("http://u:hush@a..b", "labels"),
        ("http://u:hu sh@h", "spells with %"),
        ("http://h\n", "spells with %"),
        ("http://u:hu#sh@h", "port"),
        ("http://h#hush", "fragment"),
    ],
)
def test_no_url(url: str, fault: str) -> None:
    """What is wrong with it is said without it: it can hold a password."""
    text = url_fault(url, schemes=HTTP)
    assert fault in text
    assert "hush" not in text
