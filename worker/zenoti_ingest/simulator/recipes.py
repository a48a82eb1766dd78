"""The simulator's memory: of each invoice the recipe, not the document: a day's run must not fill the memory.

Pure, as the world is. A recipe says how the invoice is drawn, always the same, and how far its visit has come.
"""

from datetime import datetime, timedelta

import msgspec

from zenoti_ingest.simulator import documents, invention
from zenoti_ingest.simulator.catalogue import InvoiceWish
from zenoti_ingest.simulator.invention import Center, Json, Scene

_OTHERS_FROM = 500_000  # invoice numbers beside those of the visits


class Recipe(msgspec.Struct):
    """How to draw one invoice, and how it stands.

    Attributes:
        series: `visit`, or `other` for what happens beside them; each is numbered by itself.
        number: counts from 0 within the series.
        now: when it was issued, UTC.
        wanted: what is bought and what is odd about it.
        progress: 0 booked, 1 started, 2 completed.
        closed: paid.
        gone: the API knows it no longer.
    """

    series: str
    number: int
    now: datetime
    wanted: InvoiceWish
    progress: int = 0
    closed: bool = False
    gone: bool = False


def scene_of(seed: int, series: str, number: int, now: datetime) -> Scene:
    """The scene of one visit or other occasion: its chance begins anew at each call."""
    rng = invention.rng(f"{seed}:{series}:{number}")
    center = rng.choice(invention.CENTERS)
    return Scene(rng, now, center, id_of(seed, center.name), id_of(seed, "organization"))


def at_center(seed: int, scene: Scene, center: Center) -> Scene:
    """The same in a centre that is not left to chance."""
    return scene._replace(center=center, center_id=id_of(seed, center.name))


def id_of(seed: int, name: str) -> str:
    """The id of what has a name and is always the same: a ware, a centre, a therapist."""
    return invention.guid(invention.rng(f"{seed}:name:{name}"))


def draw(seed: int, recipe: Recipe) -> Json:
    """The invoice as it will be once paid and closed, every part of it there."""
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
