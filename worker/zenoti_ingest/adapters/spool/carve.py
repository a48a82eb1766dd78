"""Reads the events of a damaged SQLite file page by page.

It needs no page to find another page, so a damaged page costs only its own content.
The caller checks the checksums of records. The format: https://www.sqlite.org/fileformat.html
"""

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, NamedTuple

PAGE_BYTES: Final = 4096
_LEAF = 13  # the type of a page that holds rows of a table
_LEAF_HEADER_BYTES = 8
_MOST_LOCAL_BYTES = PAGE_BYTES - 35  # a longer payload continues in overflow pages
_LEAST_LOCAL_BYTES = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW_BYTES = PAGE_BYTES - 4
_VARINT_BYTES = 9
_TEXT, _BLOB = 13, 12  # the smallest serial types
_COLUMNS = 5
_RECORD_HEADER = re.compile(rb"(?=[\x06-\x29]\x00)")  # the header's length, then the type of `id`, stored as NULL


class Cell(NamedTuple):
    """A row as stored in the file. `is_sure`: an undamaged page points at it, so it is certainly a row."""

    number: int
    receipt_id: str
    record: bytes
    is_sure: bool = True


def carve(path: Path) -> Generator[Cell, None, None]:
    """Yield the rows of a file: first those of undamaged pages, then whatever looks like a row in the other pages.

    A row can come twice if a page was damaged while SQLite moved rows.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        pages = _Pages(file.fileno())
        suspicious = []
        for number in range(1, pages.count + 1):
            if not pages.is_known[number]:
                cells = _pointed_at(pages, number)
                if cells is None:
                    suspicious.append(number)
                else:
                    yield from cells
        for number in suspicious:
            if not pages.is_known[number]:
                yield from _found_in(pages, number)


class _Pages:
    """The pages of a file. `is_known`: the page is free or continues a row, so no row begins there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.count = -(-os.fstat(descriptor).st_size // PAGE_BYTES)  # the last page can be incomplete
        self.is_known = bytearray(self.count + 1)
        self._mark_free()

    def read(self, number: int) -> bytes:
        """A page; shorter if the file ends in it."""
        return os.pread(self._descriptor, PAGE_BYTES, (number - 1) * PAGE_BYTES)

    def overflow(self, number: int, size: int) -> bytes | None:
        """The `size` bytes of a payload that begin in this overflow page; None: the chain is broken."""
        chain, found = set[int](), list[bytes]()
        while size > 0:
            if not 1 < number <= self.count or number in chain:
                return None
            page = self.read(number)
            chain.add(number)
            found.append(page[4 : 4 + size])
            size -= _OVERFLOW_BYTES
            number = int.from_bytes(page[:4], "big")
        for used in chain:
            self.is_known[used] = True
        return b"".join(found)

    def _mark_free(self) -> None:
        trunk = int.from_bytes(self.read(1)[32:36], "big")
        while 1 < trunk <= self.count and not self.is_known[trunk]:
            page = self.read(trunk)
            self.is_known[trunk] = True
            leaves = min(int.from_bytes(page[4:8], "big"), PAGE_BYTES // 4 - 2)
            for at in range(8, 8 + 4 * leaves, 4):
                leaf = int.from_bytes(page[at : at + 4], "big")
                if 1 < leaf <= self.count:
                    self.is_known[leaf] = True
            trunk = int.from_bytes(page[:4], "big")


def _pointed_at(pages: _Pages, number: int) -> list[Cell] | None:
    """The rows of an undamaged leaf; None: the page is not an undamaged leaf."""
    page = pages.read(number)
    count = _number(page, 3)
    if len(page) < PAGE_BYTES or page[0] != _LEAF or _LEAF_HEADER_BYTES + 2 * count > PAGE_BYTES:
        return None
    starts = [_number(page, _LEAF_HEADER_BYTES + 2 * which) for which in range(count)]
    found = [(start, cell) for start in starts if (cell := _cell(pages, page, start))]
    size = sum(end - start for start, (_, end) in found)
    return [cell for _, (cell, _) in found] if len(found) == count and _adds_up(page, count, size) else None


def _adds_up(page: bytes, count: int, size: int) -> bool:
    """Whether the cells and the free space fill the page; if not, its header or a pointer is damaged."""
    begin, free = _number(page, 5), _number(page, 1)
    size += begin + page[7]  # header, pointers and the gap behind them; fragments
    while free and size <= PAGE_BYTES:
        size += max(_number(page, free + 2), 4)
        free = _number(page, free)
    return size == PAGE_BYTES and begin >= _LEAF_HEADER_BYTES + 2 * count


def _found_in(pages: _Pages, number: int) -> Iterator[Cell]:
    """Yield whatever looks like a row, anywhere in the page."""
    page = pages.read(number)
    for match in _RECORD_HEADER.finditer(page):
        for start in range(max(match.start() - 2 * _VARINT_BYTES, 0), match.start() - 1):
            if _key(page, start)[2] == match.start() and (found := _cell(pages, page, start)):
                yield found[0]._replace(is_sure=False)


def _cell(pages: _Pages, page: bytes, at: int) -> tuple[Cell, int] | None:
    """A row of the spool, and where it ends in the page; None: there is no such row."""
    size, number, at = _key(page, at)
    lengths = _lengths(page, at)
    if not lengths or sum(lengths) != size:
        return None
    local = size if size <= _MOST_LOCAL_BYTES else _local(size)
    payload, end = page[at : at + local], at + local
    if len(payload) < local:
        return None
    if local < size:
        rest = pages.overflow(int.from_bytes(page[end : end + 4], "big"), size - local)
        end += 4
        if rest is None:
            return None
        payload += rest
    receipt_at, record_at = sum(lengths[:2]), sum(lengths[:4])
    receipt = payload[receipt_at : receipt_at + lengths[2]]
    return Cell(number, receipt.decode("utf-8", "replace"), payload[record_at:]), end


def _number(page: bytes, at: int) -> int:
    """A number of two bytes."""
    return int.from_bytes(page[at : at + 2], "big")


def _key(page: bytes, at: int) -> tuple[int, int, int]:
    """The size of a cell's payload, its row number, and where the payload begins."""
    size, at = _varint(page, at)
    number, at = _varint(page, at)
    return size, number, at


def _local(size: int) -> int:
    """How many bytes of a payload with overflow pages are in the leaf itself."""
    wanted = _LEAST_LOCAL_BYTES + (size - _LEAST_LOCAL_BYTES) % _OVERFLOW_BYTES
    return wanted if wanted <= _MOST_LOCAL_BYTES else _LEAST_LOCAL_BYTES


def _lengths(page: bytes, at: int) -> list[int]:
    """The lengths of header, source, receipt, time and record of a row of the spool; empty: it is not such a row."""
    header = page[at] if at < len(page) else 0
    end, at, types = at + header, at + 1, list[int]()
    while at < min(end, len(page)):
        kind, at = _varint(page, at)
        types.append(kind)
    if at != end or len(types) != _COLUMNS or types[0]:
        return []
    if types[4] < _BLOB or types[4] % 2 or any(kind < _TEXT or kind % 2 == 0 for kind in types[1:4]):
        return []
    return [header, *((kind - _BLOB) // 2 for kind in types[1:])]


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for end, byte in enumerate(page[at : at + _VARINT_BYTES], at + 1):
        if end == at + _VARINT_BYTES:
            return value << 8 | byte, end
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004  # the bit that marks another byte of the number
            return value, end
    return 0, len(page) + 1  # cut off by the end of the page
