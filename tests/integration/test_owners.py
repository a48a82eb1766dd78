"""Names of processes, as the file system keeps them."""

import multiprocessing
import os
from pathlib import Path

from zenoti_ingest.adapters.owners import FOLDER, Owners


def test_one_name_each(tmp_path: Path) -> None:
    """Two that have all else in common have two names; each sees that the other lives."""
    first, other = Owners(tmp_path), Owners(tmp_path)
    assert first.own != other.own
    assert first.ended() == other.ended() == []
    for each in (first, other):
        each.forget(each.own)
        each.release()
    assert list((tmp_path / FOLDER).iterdir()) == []


def hold_and_die(directory: str) -> None:
    """A process that is killed."""
    Owners(Path(directory))
    os._exit(9)


def test_the_name_of_one_that_was_killed(tmp_path: Path) -> None:
    """The next process finds it, until it is forgotten; other files are left alone."""
    killed = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(str(tmp_path),))
    killed.start()
    killed.join()
    (tmp_path / FOLDER / "a stranger's").touch()
    owners = Owners(tmp_path)
    [found] = owners.ended()
    assert found != owners.own
    owners.forget(found)
    assert owners.ended() == []
    owners.release()
    assert owners.ended() == [owners.own], "let go of, and not forgotten: it may have left something"
    assert (tmp_path / FOLDER / "a stranger's").exists()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """There is a name all the same."""
    (tmp_path / "file").touch()
    owners = Owners(tmp_path / "file")
    assert len(owners.own) == 16
    assert owners.ended() == []
    owners.forget(owners.own)
    owners.release()
