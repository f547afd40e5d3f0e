"""Group commit: few transactions, each waits for its own, and one's trouble is its own."""

import asyncio
from collections.abc import Sequence

import pytest

from schedules_pipeline.errors import DispatchEnded
from schedules_pipeline.services.group_commit import LARGEST_GROUP, GroupCommit


class Ledger:
    """Says yes to even numbers; `poison` is refused by raising, as PostgreSQL does."""

    def __init__(self, poison: int | None = None, error: Exception | None = None) -> None:
        self.groups: list[list[int]] = []
        self._poison = poison
        self._error = error or ValueError("refused")

    async def write(self, items: Sequence[int]) -> Sequence[bool]:
        self.groups.append(list(items))
        await asyncio.sleep(0.005)
        if self._poison in items:
            raise self._error
        return [item % 2 == 0 for item in items]


def put_all(ledger: Ledger, items: Sequence[int]) -> list[bool | BaseException]:
    async def run() -> list[bool | BaseException]:
        commit = GroupCommit(ledger.write)
        found = await asyncio.wait_for(
            asyncio.gather(*(commit.put(item) for item in items), return_exceptions=True), 10
        )
        await commit.drained()
        return found

    return asyncio.run(run())


def test_what_comes_together_is_written_together_and_each_hears_of_its_own() -> None:
    ledger = Ledger()
    assert put_all(ledger, range(100)) == [number % 2 == 0 for number in range(100)]
    assert ledger.groups == [list(range(100))]


def test_while_one_group_commits_the_next_gathers() -> None:
    ledger = Ledger()

    async def run() -> None:
        commit = GroupCommit(ledger.write)
        puts = []
        for number in range(30):
            puts.append(asyncio.create_task(commit.put(number)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*puts)

    asyncio.run(run())
    assert [item for group in ledger.groups for item in group] == list(range(30))
    assert len(ledger.groups) < 20


def test_a_group_is_bounded() -> None:
    ledger = Ledger()
    put_all(ledger, range(LARGEST_GROUP + 1))
    assert [len(group) for group in ledger.groups] == [LARGEST_GROUP, 1]


def test_one_that_is_refused_fails_alone() -> None:
    found = put_all(Ledger(poison=3), range(6))
    assert [found[n] for n in (0, 1, 2, 4, 5)] == [True, False, True, True, False]
    assert isinstance(found[3], ValueError)


def test_the_end_of_the_dispatch_is_everybodys() -> None:
    ledger = Ledger(poison=3, error=DispatchEnded("over"))
    found = put_all(ledger, range(6))
    assert all(isinstance(each, DispatchEnded) for each in found)
    assert len(ledger.groups) == 1


def test_after_a_failure_the_next_is_written() -> None:
    async def run() -> None:
        commit = GroupCommit(Ledger(poison=3).write)
        with pytest.raises(ValueError, match="refused"):
            await commit.put(3)
        assert await commit.put(4)

    asyncio.run(run())


def test_who_was_cancelled_while_waiting_is_written_all_the_same() -> None:
    ledger = Ledger()

    async def run() -> None:
        commit = GroupCommit(ledger.write)
        first, second = (asyncio.create_task(commit.put(number)) for number in (2, 4))
        await asyncio.sleep(0.001)
        first.cancel()
        assert await second
        await commit.drained()

    asyncio.run(run())
    assert ledger.groups == [[2, 4]]
