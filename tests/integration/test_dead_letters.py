"""Looking at the dead letters on the real broker."""

import asyncio
from contextlib import aclosing

import pytest

from tests.conftest import Hand, lose_channels
from tests.eventually import eventually
from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.dead_letters import Letter, letters
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.failures.errors import BrokerUnavailable, Unroutable
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.letters import Filter, groups_of

COUNT = 23
LOOKS = 100


def message(number: int, *, queue: str) -> Outgoing:
    """A letter, or what takes its place."""
    headers = {"reason": "refused", "stage": "enrich", "source": "main", "dead_at": f"2031-05-06T17:00:{number:02}Z"}
    return Outgoing(exchange="", routing_key=queue, body=b"%d" % number, message_id=f"r-{number}", headers=headers)


@pytest.fixture
async def filled(hand: Hand, own_queue: str) -> str:
    """A queue of COUNT letters."""
    await asyncio.gather(*(hand.put(message(number, queue=own_queue)) for number in range(COUNT)))
    return own_queue


async def all_back(hand: Hand, queue: str, count: int) -> None:
    """Wait until so many are in the queue again."""

    async def is_so() -> bool:
        return await hand.ready(queue) == count

    await eventually(is_so)


@pytest.mark.parametrize("page", [1, 5, 23, 200])
async def test_every_letter_is_seen_page_by_page(link: Link, hand: Hand, filled: str, page: int) -> None:
    """However small the pages, each letter is seen once, oldest first at the first look, and all are back after it."""
    async with letters(link, queue=filled, page=page) as in_hand, aclosing(in_hand.first(COUNT)) as found:
        seen = [int(letter.body) async for letter in found]
        assert await hand.ready(filled) == 0
    assert seen == list(range(COUNT))
    await all_back(hand, filled, COUNT)


async def test_a_hundred_looks_forget_none(link: Link, hand: Hand, names: Names) -> None:
    """After a hundred looks every letter is still there: the delivery limit is far, on every release."""
    for number in range(3):
        await hand.put(message(number, queue=names.dead))
    for _ in range(LOOKS):
        async with letters(link, queue=names.dead) as in_hand, aclosing(in_hand.first(3)) as found:
            assert len([letter async for letter in found]) == 3
    (group,) = await groups_of(link, names, Filter())
    assert group.count == 3
    await all_back(hand, names.dead, 3)
    assert {m.body for m in await hand.drain(names.dead)} == {b"0", b"1", b"2"}


async def test_what_was_taken_out_is_out_and_the_rest_stays(link: Link, hand: Hand, filled: str, names: Names) -> None:
    """A letter is out once its successor is published; a letter that no queue takes stays, and its channel lives on."""
    homeless = message(0, queue=f"{names.prefix}.nowhere")
    async with letters(link, queue=filled, page=4) as in_hand, aclosing(in_hand.first(COUNT)) as found:
        async for letter in found:
            number = int(letter.body)
            if number % 2:
                await in_hand.publish_instead(letter, message(number, queue=names.raw("main")))
            elif number == 0:
                with pytest.raises(Unroutable):
                    await in_hand.publish_instead(letter, homeless)
        await in_hand.taken_out()
    await all_back(hand, filled, 12)
    assert {int(m.body) for m in await hand.drain(filled)} == set(range(0, COUNT, 2))
    assert [int(m.body) for m in await hand.drain(names.raw("main"))] == list(range(1, COUNT, 2))


async def test_more_are_asked_for_than_there_are(link: Link, filled: str) -> None:
    """A look ends where no more come, instead of waiting for ever."""
    async with asyncio.timeout(10), letters(link, queue=filled) as in_hand, aclosing(in_hand.first(99)) as found:
        assert len([letter async for letter in found]) == COUNT


async def test_a_lost_channel_is_reported(link: Link, hand: Hand, filled: str) -> None:
    """A look whose channel is lost fails, and what was not taken out is back."""
    seen: list[Letter] = []

    async def look() -> None:
        async with letters(link, queue=filled, page=5) as in_hand, aclosing(in_hand.first(COUNT)) as found:
            async for letter in found:
                seen.append(letter)
                await lose_channels(link)

    with pytest.raises(BrokerUnavailable):
        await look()
    assert len(seen) <= 5
    await all_back(hand, filled, COUNT)
