"""The simulator's memory: it keeps the recipe of each invoice, not the document, so that a day's run fits into memory.

It is pure. A recipe holds how to draw the invoice, always with the same result, and the progress of its visit.
"""

from datetime import datetime, timedelta

import msgspec

from zenoti_ingest.simulator import documents, invention
from zenoti_ingest.simulator.catalogue import InvoiceWish
from zenoti_ingest.simulator.invention import Center, Json, Scene

_OTHERS_FROM = 500_000  # invoice numbers of other occasions begin here


class Recipe(msgspec.Struct):
    """How to draw an invoice, and its state.

    Attributes:
        series: `visit`, or `other` for all other occasions; each series has its own numbers.
        number: counts from 0 within the series.
        now: when it was issued, UTC.
        wanted: what is bought and what is odd about it.
        progress: 0 booked, 1 started, 2 completed.
        closed: paid.
        gone: the API no longer knows it.
    """

    series: str
    number: int
    now: datetime
    wanted: InvoiceWish
    progress: int = 0
    closed: bool = False
    gone: bool = False


def scene_of(seed: int, series: str, number: int, now: datetime) -> Scene:
    """The scene of a visit or other occasion; its randomness restarts with each call."""
    rng = invention.rng(f"{seed}:{series}:{number}")
    center = rng.choice(invention.CENTERS)
    return Scene(rng, now, center, id_of(seed, center.name), id_of(seed, "organization"))


def at_center(seed: int, scene: Scene, center: Center) -> Scene:
    """The same scene in a given centre."""
    return scene._replace(center=center, center_id=id_of(seed, center.name))


def id_of(seed: int, name: str) -> str:
    """The fixed id of something with a name: a ware, a centre, a therapist."""
    return invention.guid(invention.rng(f"{seed}:name:{name}"))


def draw(seed: int, recipe: Recipe) -> Json:
    """The invoice as it will be once paid and closed, with all its parts."""
    scene = scene_of(seed, recipe.series, recipe.number, recipe.now)
    if recipe.wanted.center is not None:
        scene = at_center(seed, scene, recipe.wanted.center)
    rng, therapist = scene.rng, scene.rng.choice(invention.THERAPISTS)
    items, appointments = [], []
    start = recipe.now.replace(minute=recipe.now.minute // 15 * 15, second=0)
    for ware in invention.wares(rng, basket=recipe.wanted.basket):
        item = documents.item_document(
            rng, ware=ware, ware_id=id_of(seed, ware.name), therapist=(id_of(seed, therapist), therapist)
        )
        items.append(item)
        if ware.kind == invention.SERVICE:
            appointments.append(documents.appointment_document(rng, item=item, start=start, minutes=ware.minutes))
            start += timedelta(minutes=ware.minutes)
    number = recipe.number + (_OTHERS_FROM if recipe.series == "other" else 0)
    invoice = documents.invoice_document(rng, number=number, at=recipe.now + scene.center.utc_offset, items=items)
    invoice |= {
        "group_invoice_id": recipe.wanted.group_invoice_id,
        "invoice_number_prefix": scene.center.prefix,
        "center_id": scene.center_id,
        "appointments": appointments,
    }
    return _altered(invoice, nature=recipe.wanted.nature)


def _altered(invoice: Json, *, nature: str) -> Json:
    match nature:
        case "refund":
            return documents.refunded(invoice)
        case "drifted":
            return documents.drifted(invoice)
        case _:
            return invoice
