"""Invented data: randomness fixed by a seed, ids and times in the vendor's formats, wares, centres and people.

It is pure. All data is synthetic: addresses at example.com, telephone numbers of the block reserved for fiction.
"""

import random
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

Json = dict[str, Any]

SERVICE: Final = 0
PRODUCT: Final = 2
MEMBERSHIP: Final = 3
PACKAGE: Final = 4

ZERO_GUID: Final = "00000000-0000-0000-0000-000000000000"
NO_TIME: Final = "0001-01-01T00:00:00"


class Ware(NamedTuple):
    """A thing that is sold; its price is a text, so that it stays exact."""

    kind: int
    name: str
    code: str
    price: str
    minutes: int = 0


class Center(NamedTuple):
    """A salon; `utc_offset`: its local time minus UTC."""

    name: str
    prefix: str
    utc_offset: timedelta


_SERVICES: Final = (
    Ware(SERVICE, "Fringe trim", "FRT", "12.50", 15),
    Ware(SERVICE, "Cut and finish", "CAF", "78.00", 45),
    Ware(SERVICE, "Gloss and blow-dry", "GBD", "64.90", 60),
    Ware(SERVICE, "Hot stone hour", "HSH", "149.50", 75),
    Ware(SERVICE, "Maniküre, klassisch", "MKL", "39.95", 30),
)
_PRODUCTS: Final = (
    Ware(PRODUCT, "Sample shampoo 250 ml", "SHA", "18.20"),
    Ware(PRODUCT, "Hair grip (single)", "GRP", "0.10"),
    Ware(PRODUCT, "Hand balm", "BLM", "9.99"),
)
_MEMBERSHIPS: Final = (Ware(MEMBERSHIP, "Twelve visits a year", "T12", "480.00"),)
_PACKAGES: Final = (Ware(PACKAGE, "Five blow-dries", "P5B", "249.90"),)
CENTERS: Final = (
    Center("Quayside Sample Salon", "QSS", timedelta(hours=-8)),
    Center("Millpond Sample Spa", "MSS", timedelta(hours=1)),
    Center("Orchard Sample Studio", "OSS", timedelta(hours=5, minutes=30)),
)
THERAPISTS: Final = ("Ilse Placeholder", "Bram Specimen", "Noor Exemplar", "Tove Mockingham")
_FIRST_NAMES: Final = ("Zoë", "Marek", "Amara", "Łucja", "Otis", "Yuki")
_LAST_NAMES: Final = ("Sampleton", "O'Test", "Fixture", "Dummy-Smith")


def rng(seed: str) -> random.Random:
    """Randomness fixed by its seed."""
    return random.Random(seed)  # noqa: S311  repeatable is the point


def guid(rng: random.Random) -> str:
    """A GUID in the vendor's format."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def naive(at: datetime) -> str:
    """A time without a zone, like most of the vendor's times."""
    return at.replace(tzinfo=None, microsecond=0).isoformat()


def wares(rng: random.Random, *, basket: str) -> list[Ware]:
    """What a guest buys: services for `visit`, the wares of the `documented` sample, or what the basket's name says."""
    match basket:
        case "visit":
            return rng.sample(_SERVICES, rng.randint(1, 3)) + rng.sample(_PRODUCTS, rng.choice((0, 0, 1)))
        case "documented":
            return [rng.choice(group) for group in (_SERVICES, _PRODUCTS, _MEMBERSHIPS)]
        case "products":
            return rng.sample(_PRODUCTS, 2)
        case "membership":
            return [rng.choice(_MEMBERSHIPS)]
        case "package":
            return [rng.choice(_PACKAGES)]
        case _:
            raise ValueError(f"no such basket: {basket}")


def person(rng: random.Random) -> Json:
    """An invented person, in the shape of an invoice's guest."""
    guest_id, line = guid(rng), rng.randrange(100)
    return {
        "id": guest_id,
        "first_name": rng.choice(_FIRST_NAMES),
        "last_name": rng.choice(_LAST_NAMES),
        "gender": rng.choice((-1, 0, 1, 3)),
        "code": "",
        "mobile_phone": f"+1 555 01{line:02d}",  # the block reserved for fiction
        "email": f"guest-{guest_id[:8]}@example.com",
    }


class Scene(NamedTuple):
    """Where and when something happens: randomness, the time in UTC, and the salon."""

    rng: random.Random
    now: datetime
    center: Center
    center_id: str
    organization_id: str

    def guid(self) -> str:
        """A new id."""
        return guid(self.rng)

    def at(self, *, hours: int = 0) -> str:
        """A naive time, `hours` after the scene's time."""
        return naive(self.now + timedelta(hours=hours))
