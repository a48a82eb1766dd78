"""What is invented: chance that a seed fixes, ids and times as the vendor writes them, wares, centres and people.

Pure, as the world is. All of it is synthetic: addresses at example.com, telephone numbers of the block for fiction.
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
    """One thing that is sold; the price as text, so that it stays exact."""

    kind: int
    name: str
    code: str
    price: str
    minutes: int = 0


class Center(NamedTuple):
    """One salon: its wall clock is that far from UTC."""

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
    """Randomness that its seed fixes."""
    return random.Random(seed)  # noqa: S311  repeatable is the point


def guid(rng: random.Random) -> str:
    """A GUID as the vendor writes it."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def naive(at: datetime) -> str:
    """A time without its zone, as most of the vendor's are."""
    return at.replace(tzinfo=None, microsecond=0).isoformat()


def wares(rng: random.Random, *, basket: str) -> list[Ware]:
    """What a guest buys: a `visit`'s services, what the `documented` sample shows, or what the basket is named for."""
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
    """Somebody who does not exist, as an invoice shows a guest."""
    guest_id, line = guid(rng), rng.randrange(100)
    return {
        "id": guest_id,
        "first_name": rng.choice(_FIRST_NAMES),
        "last_name": rng.choice(_LAST_NAMES),
        "gender": rng.choice((-1, 0, 1, 3)),
        "code": "",
        "mobile_phone": f"+1 555 01{line:02d}",  # the block that is set aside for fiction
        "email": f"guest-{guest_id[:8]}@example.com",
    }


class Scene(NamedTuple):
    """Where and when something happens: chance, the moment in UTC, and the salon."""

    rng: random.Random
    now: datetime
    center: Center
    center_id: str
    organization_id: str

    def guid(self) -> str:
        """A new id."""
        return guid(self.rng)

    def at(self, *, hours: int = 0) -> str:
        """A naive time, so many hours from the moment."""
        return naive(self.now + timedelta(hours=hours))
