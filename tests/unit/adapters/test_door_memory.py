from zenoti_ingest.adapters.http_door.memory import SMALL_BYTES, Memory, half_parsed_bytes, parsed_bytes

LARGE = 10 * SMALL_BYTES


class Keeper:
    """A connection that frees what it keeps when a test says so."""

    def __init__(self, memory: Memory, *, at_once: bool = False) -> None:
        self.memory, self.at_once, self.asked = memory, at_once, 0

    def give_way(self) -> None:
        """As a connection does."""
        self.asked += 1
        if self.at_once:
            self.memory.released(self)


def test_small_ones_do_not_count() -> None:
    """What any connection may keep is no reason for another to go."""
    memory = Memory(LARGE)
    keepers = [Keeper(memory) for _ in range(1000)]
    for keeper in keepers:
        memory.keeps(keeper, SMALL_BYTES)
    assert memory.kept == 0
    assert not any(keeper.asked for keeper in keepers)


def test_the_oldest_gives_way_once() -> None:
    """Over the bound the connection that has held memory for longest goes, and no other until that is freed."""
    memory = Memory(2 * LARGE)
    first, second, third = (Keeper(memory) for _ in range(3))
    for keeper in (first, second, third):
        memory.keeps(keeper, LARGE)
    assert [first.asked, second.asked, third.asked] == [1, 0, 0]
    memory.keeps(first, 2 * LARGE)  # it goes on growing until it is gone
    assert [first.asked, second.asked, third.asked] == [1, 0, 0]
    memory.released(first)
    assert memory.kept == 2 * LARGE
    memory.keeps(Keeper(memory), LARGE)
    assert [first.asked, second.asked, third.asked] == [1, 1, 0]


def test_a_connection_at_work_stays() -> None:
    """What is at work counts, and does not go; a newcomer that is too much goes itself."""
    memory = Memory(LARGE)
    worker, newcomer = Keeper(memory), Keeper(memory, at_once=True)
    memory.keeps(worker, LARGE)
    memory.stays(worker)
    memory.keeps(newcomer, LARGE)
    assert [worker.asked, newcomer.asked] == [0, 1]
    assert memory.kept == LARGE
    memory.released(worker)
    assert memory.kept == 0


def test_overrun_is_what_is_really_there() -> None:
    """Connections that must go count until they have gone."""
    memory = Memory(LARGE)
    keepers = [Keeper(memory) for _ in range(3)]
    overrun = []
    for keeper in keepers:
        memory.keeps(keeper, LARGE)
        overrun.append(memory.is_overrun)
    memory.released(keepers[0])
    assert [*overrun, memory.is_overrun] == [False, False, True, False]


def test_shrinking_below_small_releases() -> None:
    """Who keeps little again counts no more."""
    memory = Memory(LARGE)
    keeper = Keeper(memory)
    memory.keeps(keeper, LARGE)
    memory.keeps(keeper, SMALL_BYTES)
    assert memory.kept == 0


def test_what_parsing_costs() -> None:
    """A head's cost grows with its bytes and its headers; half a head cannot have more headers than a whole head."""
    assert parsed_bytes([(b"a", b"b")] * 100, 1000) == 5 * 1000 + 256 * 100
    assert half_parsed_bytes(400, max_headers=1000) == 5 * 400 + 256 * 100
    assert half_parsed_bytes(100_000, max_headers=100) == 5 * 100_000 + 256 * 100
