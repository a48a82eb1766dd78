import asyncio

from zenoti_ingest.stages.room import AtWork, Room


class Crowd:
    """Events that want into a room, each until a test lets it go; `inside`: events that have a place, in order."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.inside: list[int] = []
        self.came: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._gone: dict[int, asyncio.Event] = {}
        self.at_work: dict[int, AtWork] = {}

    async def want(self, number: int, size: int) -> None:
        """One more comes."""
        self._gone[number] = asyncio.Event()
        self.tasks[number] = asyncio.create_task(self._stay(number, size))
        await asyncio.sleep(0)

    async def go(self, number: int) -> None:
        """It leaves."""
        self._gone[number].set()
        await self.tasks[number]
        for _ in range(5):
            await asyncio.sleep(0)

    async def _stay(self, number: int, size: int) -> None:
        with await self.room.enter(size) as self.at_work[number]:
            self.inside.append(number)
            self.came.append(number)
            await self._gone[number].wait()
            self.inside.remove(number)


async def test_as_many_as_there_is_room_for() -> None:
    """What fits is let in at once; what does not waits until somebody leaves."""
    crowd = Crowd(Room(100))
    for number, size in enumerate((40, 60, 10)):
        await crowd.want(number, size)
    assert crowd.inside == [0, 1]
    await crowd.go(0)
    assert crowd.inside == [1, 2]
    assert [crowd.at_work[number].has_waited for number in range(3)] == [False, False, True]
    await crowd.go(1)
    await crowd.go(2)
    assert crowd.room.used == 0


async def test_nobody_overtakes() -> None:
    """A small body waits behind a large body, so that the large body gets its turn."""
    crowd = Crowd(Room(100))
    for number, size in enumerate((60, 50, 10, 10)):
        await crowd.want(number, size)
    assert crowd.inside == [0]
    await crowd.go(0)
    assert crowd.inside == [1, 2, 3]


async def test_nobody_overtakes_an_event_that_was_just_called() -> None:
    """Between the call of an event and its entry, no other event slips in."""
    room, entered = Room(100), list[int]()

    async def enter(number: int) -> None:
        with await room.enter(60):
            entered.append(number)

    with await room.enter(100):
        waiting = asyncio.create_task(enter(1))
        await asyncio.sleep(0)
        late = asyncio.create_task(enter(2))  # its first turn comes before the other's next turn
    await asyncio.gather(waiting, late)
    assert entered == [1, 2]


async def test_one_alone_is_let_in_however_large() -> None:
    """What is larger than the room comes in when nobody else is in it, and is alone."""
    crowd = Crowd(Room(100))
    await crowd.want(0, 500)
    await crowd.want(1, 1)
    assert crowd.inside == [0]
    await crowd.go(0)
    assert crowd.inside == [1]


async def test_what_turns_out_larger_stays_and_others_wait() -> None:
    """A body that was small until it was inflated keeps the next bodies out, and gives all of it back."""
    crowd = Crowd(Room(100))
    await crowd.want(0, 1)
    crowd.at_work[0].grow(500)
    await crowd.want(1, 1)
    assert crowd.inside == [0]
    await crowd.go(0)
    assert crowd.inside == [1]
    await crowd.go(1)
    assert crowd.room.used == 0


async def test_who_is_cancelled_holds_up_nobody() -> None:
    """In the line, or just called: a cancelled event leaves the others their turn."""
    crowd = Crowd(Room(100))
    for number in range(4):
        await crowd.want(number, 100)
    crowd.tasks[1].cancel()
    await asyncio.sleep(0)
    crowd.room.leave(100)  # as 0 does; 2 is called
    crowd.tasks[2].cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert crowd.inside == [0, 3]
    assert crowd.room.used == 100
