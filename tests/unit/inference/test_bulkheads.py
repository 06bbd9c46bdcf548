"""What waits holds up its like alone: few in threads, some waiting, the others told at once."""

import asyncio
import threading
import time

import pytest

from services.inference.http.bulkheads import Bulkhead, ConcurrencyLimit
from services.inference.http.problems import ProblemError


def test_few_run_some_wait_and_the_others_are_told_to_come_back() -> None:
    frozen = threading.Event()
    running = []

    def wait_for_the_store(n: int) -> int:
        running.append(n)
        frozen.wait(10)
        return n

    async def all_at_once() -> list[int | BaseException]:
        bulkhead = Bulkhead("the store", at_once=2, waiting=3)
        asked = [asyncio.create_task(bulkhead.run(wait_for_the_store, n)) for n in range(10)]
        started = time.monotonic()
        await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert time.monotonic() - started < 1
        await asyncio.sleep(0.2)
        assert len(running) == 2
        frozen.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    results = asyncio.run(all_at_once())
    assert results[:5] == [0, 1, 2, 3, 4]
    for refused in results[5:]:
        assert isinstance(refused, ProblemError)
        assert (refused.status, refused.retry_after_seconds) == (503, 2)


def test_a_full_room_refuses_and_a_place_is_free_again_also_after_an_error() -> None:
    room = ConcurrencyLimit("Kafka", at_once=1)

    def work() -> None:
        with room.slot():
            with pytest.raises(ProblemError), room.slot():
                pass
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            work()
