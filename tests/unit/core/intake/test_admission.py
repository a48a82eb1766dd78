import base64

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import signature_text
from zenoti_ingest.core.intake.admission import Accept, Ping, Refuse, Rule, judge, parse_signature, signature

SECRET = b"test-secret"
BODY = b'{"id":"1"}'
# The check value of an integrator, as it stands in the header.
SPELLED = (
    "sha256 =B6-EE-61-D2-6A-34-94-DD-C3-43-7B-55-02-82-99-A9-"  # gitleaks:allow  # synthetic
    "C3-99-56-DF-DC-F6-23-62-9B-0B-1F-7D-0C-64-BA-F1"
)
DIGEST = bytes.fromhex(SPELLED.removeprefix("sha256 =").replace("-", ""))
BASE64 = base64.b64encode(DIGEST).decode()
SIGNED = Rule(secrets=(SECRET,))

# What HTTP headers and queries can hold in Python: any text, undecodable bytes as lone surrogates.
wire_text = st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def spellings(digest: bytes) -> list[str]:
    """Every way to write a signature that a source may choose."""
    forms = [digest.hex("-").upper(), digest.hex("-"), digest.hex(), digest.hex().upper()]
    forms.append(base64.b64encode(digest).decode())
    return [prefix + form for prefix in ("", "sha256=", "sha256 =", "SHA256 = ") for form in forms]


def test_check_value() -> None:
    """The signature of a known body by a known secret is the known value."""
    assert signature(BODY, secret=SECRET) == DIGEST == parse_signature(SPELLED)
    assert signature_text(BODY) == SPELLED
    assert judge(BODY, signatures=[SPELLED], tokens=[], rule=SIGNED) == Accept(signed=True)


@pytest.mark.parametrize("value", [*spellings(DIGEST), f"  {SPELLED}  ", f"\tsha256={BASE64}\n"], ids=repr)
def test_every_spelling_is_read(value: str) -> None:
    """Dashed hex, plain hex and base64 are read, with or without the name of the hash."""
    assert parse_signature(value) == DIGEST


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("sha256=", id="name only"),
        pytest.param(SPELLED[:-1], id="a digit short"),
        pytest.param(SPELLED + "0", id="a digit long"),
        pytest.param(SPELLED * 2, id="doubled"),
        pytest.param(SPELLED + "," + SPELLED, id="two in one"),
        pytest.param("sha512=" + DIGEST.hex(), id="another hash"),
        pytest.param("sha256=sha256=" + DIGEST.hex(), id="name twice"),
        pytest.param(DIGEST.hex("-")[3:], id="a byte short"),
        pytest.param(DIGEST.hex("-").replace("-", "--", 1), id="two dashes"),
        pytest.param(DIGEST.hex(":"), id="colons"),
        pytest.param(BASE64.rstrip("="), id="base64 without padding"),
        pytest.param(base64.urlsafe_b64encode(b"\xff" * 32).decode(), id="base64 of URLs"),
        pytest.param("\uff10" * 64, id="digits that are not ASCII"),
        pytest.param("\udcff" * 64, id="undecodable bytes"),
        pytest.param("A" * 10_000, id="10 kB"),
    ],
)
def test_no_signature(value: str) -> None:
    """What spells no 32 bytes is no signature, and is refused."""
    assert parse_signature(value) is None
    assert isinstance(judge(BODY, signatures=[value], tokens=[], rule=SIGNED), Refuse)


@settings(max_examples=100, deadline=None)
@given(value=wire_text | st.text(alphabet="0123456789abcdefABCDEF-=+/ sh", max_size=110))
@example(value="sha256" * 20)
@example(value=" " * 5000 + "x")
def test_parse_signature_never_raises(value: str) -> None:
    """Any text is 32 bytes or none."""
    found = parse_signature(value)
    assert found is None or len(found) == 32


@settings(max_examples=100, deadline=None)
@given(
    body=st.binary(max_size=20),
    signatures=st.lists(wire_text, max_size=3),
    tokens=st.lists(wire_text, max_size=3),
    secrets=st.lists(st.binary(min_size=8, max_size=12), max_size=2),
    known=st.lists(st.binary(min_size=8, max_size=12), max_size=2),
)
def test_strangers_never_get_in(
    body: bytes, signatures: list[str], tokens: list[str], secrets: list[bytes], known: list[bytes]
) -> None:
    """Nothing raises, and a sender with neither secret nor token is refused with 401, or only pings."""
    rule = Rule(secrets=tuple(secrets), tokens=tuple(known))
    tokens = [token for token in tokens if token.encode("utf-8", "surrogateescape") not in known]
    match judge(body, signatures=signatures, tokens=tokens, rule=rule):
        case Ping():
            assert body == b""
        case Refuse(status, detail):
            assert status == 401
            assert detail
        case Accept():
            assert not secrets
            assert not known


@settings(max_examples=100, deadline=None)
@given(body=st.binary(min_size=1, max_size=40), secret=st.binary(min_size=1, max_size=40), flip=st.integers(0))
def test_any_flipped_bit_of_the_body_is_refused(body: bytes, secret: bytes, flip: int) -> None:
    """A body that differs in one bit from what was signed is refused; as it was signed it is let in."""
    changed = bytearray(body)
    changed[flip // 8 % len(body)] ^= 1 << flip % 8
    rule, value = Rule(secrets=(secret,)), signature_text(body, secret=secret)
    assert judge(body, signatures=[value], tokens=[], rule=rule) == Accept(signed=True)
    assert isinstance(judge(bytes(changed), signatures=[value], tokens=[], rule=rule), Refuse)


def test_any_flipped_bit_of_the_signature_is_refused() -> None:
    """A signature that differs in one bit, any of its 256, is refused in every spelling."""
    for bit in range(256):
        changed = bytearray(DIGEST)
        changed[bit // 8] ^= 1 << bit % 8
        for value in spellings(bytes(changed)):
            assert isinstance(judge(BODY, signatures=[value], tokens=[], rule=SIGNED), Refuse)


@pytest.mark.parametrize(
    ("signatures", "tokens", "rule", "expected"),
    [
        pytest.param([], [], Rule(), Accept(signed=True), id="insecure"),
        pytest.param([], [], SIGNED, 401, id="no signature"),
        pytest.param([SPELLED, SPELLED], [], SIGNED, 401, id="two signatures"),
        pytest.param([SPELLED], [], Rule(secrets=(b"new", SECRET)), Accept(signed=True), id="second of two secrets"),
        pytest.param([SPELLED], [], Rule(secrets=(b"new", b"other")), 401, id="neither of two secrets"),
        pytest.param([], ["tok"], Rule(tokens=(b"tok",)), Accept(signed=True), id="token"),
        pytest.param([], ["x", "tok"], Rule(tokens=(b"new", b"tok")), Accept(signed=True), id="one of two tokens"),
        pytest.param([], [], Rule(tokens=(b"tok",)), 401, id="no token"),
        pytest.param([], ["to", "token", ""], Rule(tokens=(b"tok",)), 401, id="wrong tokens"),
        pytest.param([], ["t\udcff"], Rule(tokens=(b"t\xff",)), Accept(signed=True), id="token that is no UTF-8"),
        pytest.param([SPELLED], [], Rule(secrets=(SECRET,), tokens=(b"tok",)), 401, id="signature, no token"),
        pytest.param([], ["tok"], Rule(secrets=(SECRET,), tokens=(b"tok",)), 401, id="token, no signature"),
        pytest.param([SPELLED], ["tok"], Rule(secrets=(SECRET,), tokens=(b"tok",)), Accept(signed=True), id="both"),
        pytest.param(
            ["x"], ["tok"], Rule(secrets=(SECRET,), tokens=(b"tok",), observe=True), Accept(signed=False), id="observed"
        ),
        pytest.param(
            [SPELLED],
            ["tok"],
            Rule(secrets=(SECRET,), tokens=(b"tok",), observe=True),
            Accept(signed=True),
            id="observed, right",
        ),
        pytest.param(
            ["x"], ["no"], Rule(secrets=(SECRET,), tokens=(b"tok",), observe=True), 401, id="observed, wrong token"
        ),
    ],
)
def test_judge(signatures: list[str], tokens: list[str], rule: Rule, expected: Accept | int) -> None:
    """Each demand of a source is met by its own proof; all of them must be."""
    found = judge(BODY, signatures=signatures, tokens=tokens, rule=rule)
    assert (found.status if isinstance(found, Refuse) else found) == expected


def test_a_token_that_no_bytes_spell_is_refused() -> None:
    """Text that cannot have come over the wire is a wrong token, not an error."""
    refused = judge(b"{}", signatures=[], tokens=["\ud800"], rule=Rule(tokens=(b"t",)))
    assert isinstance(refused, Refuse)


@pytest.mark.parametrize("rule", [Rule(), SIGNED, Rule(tokens=(b"tok",))], ids=["none", "signature", "token"])
def test_empty_body_is_a_ping(rule: Rule) -> None:
    """The console's test button sends 0 bytes, unsigned: a ping whatever the source demands."""
    assert judge(b"", signatures=[], tokens=[], rule=rule) == Ping()


def test_blank_body_is_no_ping() -> None:
    """Only 0 bytes are a ping; blanks are a body that must be signed."""
    assert isinstance(judge(b" ", signatures=[], tokens=[], rule=SIGNED), Refuse)
