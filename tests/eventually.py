"""Waiting for what comes in its own time: the only place of the tests that sleeps."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import pytest

T = TypeVar("T")

POLL_SECONDS = 0.02


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], *, within: float = 5.0) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], *, within: float = 5.0) -> T: ...
async def eventually(predicate: Callable[[], object], *, within: float = 5.0) -> object:
    """The predicate's first truthy value; fails with its last value after so many seconds."""
    deadline = asyncio.get_running_loop().time() + within
    value: object = "not answered yet"
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                answer = predicate()
                value = await answer if isinstance(answer, Awaitable) else answer
                if value:
                    return value
                await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            break
    pytest.fail(f"not within {within:g} s; at last it was {value!r}")


async def next_turn() -> None:
    """Let every task that is ready run once."""
    await asyncio.sleep(0)
