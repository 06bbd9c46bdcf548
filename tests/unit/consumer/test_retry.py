import threading
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from services.consumer.errors import StopError
from services.consumer.lifecycle import GivenUpError
from services.consumer.retry import Retrier
from services.consumer.worker import Worker

TOO_MANY_PARTS = DatabaseError("too many parts", code=252)


class Waits:
    """Notes how long it was asked to wait, and gives up after ``at_most`` waits."""

    def __init__(self, at_most: int = 100) -> None:
        self.seconds: list[float] = []
        self.resumed = 0
        self._at_most = at_most

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) > self._at_most:
            raise GivenUpError

    def work_ahead(self) -> bool:
        return False

    def resume(self) -> None:
        self.resumed += 1


class Server:
    """Answers with these errors in turn, then with the number of calls."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.calls = 0

    def insert(self) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls


def retrier(waits: Waits, reasons: list[str] | None = None) -> Retrier:
    return Retrier(Worker("test"), waits, (reasons if reasons is not None else []).append)


@pytest.mark.parametrize("here", [False, True])
def test_an_overloaded_server_is_asked_again_until_it_answers(here: bool) -> None:
    waits, reasons = Waits(), list[str]()
    assert retrier(waits, reasons).call("events", Server(*[TOO_MANY_PARTS] * 9).insert, here=here) == 10
    assert len(waits.seconds) == 9
    assert reasons == ["252"] * 9
    assert waits.resumed == 1


def test_delays_double_up_to_a_limit_and_half_of_each_is_random() -> None:
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    runs = []
    for _ in range(50):
        waits = Waits()
        retrier(waits).call("events", Server(*[TOO_MANY_PARTS] * 9).insert)
        runs.append(waits.seconds)
    for limit, delays in zip(longest, zip(*runs, strict=True), strict=True):
        assert all(limit / 2 <= delay <= limit for delay in delays)
        assert max(delays) - min(delays) > limit / 8, "50 delays of half the limit's breadth"


def test_a_server_that_is_away_for_months_is_still_asked_every_five_seconds() -> None:
    waits = Waits(at_most=2_000)
    assert retrier(waits).call("events", Server(*[TOO_MANY_PARTS] * 2_000).insert, here=True) == 2_001
    assert 2.5 <= waits.seconds[-1] <= 5.0


def test_refused_credentials_are_retried_slowly_and_counted() -> None:
    waits, reasons = Waits(), list[str]()
    assert retrier(waits, reasons).call("events", Server(DatabaseError("no", code=516)).insert) == 2
    assert waits.seconds == [5.0]
    assert reasons == ["516"]


@pytest.mark.parametrize(
    "error",
    [DatabaseError("constraint", code=469), StopError("gone"), GivenUpError(), SystemExit(0), KeyboardInterrupt()],
)
def test_what_a_retry_cannot_help_is_raised_as_it_is_and_at_once(error: BaseException) -> None:
    waits, reasons, server = Waits(), list[str](), Server(error)
    with pytest.raises(type(error)) as raised:
        retrier(waits, reasons).call("events", server.insert)
    assert raised.value is error
    assert (server.calls, waits.seconds, reasons, waits.resumed) == (1, [], [], 1)


def test_a_foreign_schema_stops() -> None:
    with pytest.raises(StopError, match=r"events: .* run the migrations \(.*no table"):
        retrier(Waits()).call("events", Server(DatabaseError("no table", code=60)).insert)


def test_when_time_is_over_it_gives_up() -> None:
    waits = Waits(at_most=2)
    with pytest.raises(GivenUpError):
        retrier(waits).call("events", Server(*[ConnectionResetError()] * 9).insert)
    assert waits.resumed == 1


def test_a_timeout_of_the_call_itself_is_retried() -> None:
    waits = Waits()
    assert retrier(waits).call("events", Server(FutureTimeoutError(), TimeoutError()).insert) == 3
    assert len(waits.seconds) == 2


def test_a_call_that_hangs_does_not_keep_the_ingestion_from_polling() -> None:
    never = threading.Event()
    waits = Waits(at_most=3)
    with pytest.raises(GivenUpError):
        retrier(waits).call("events", lambda: never.wait(30))
    assert len(waits.seconds) == 4
    never.set()


def test_what_comes_while_a_call_is_waited_for_is_worked_on() -> None:
    done = threading.Event()

    class Busy(Waits):
        def work_ahead(self) -> bool:
            done.set()
            return True

    waits = Busy()
    assert retrier(waits).call("events", lambda: done.wait(30))
    assert waits.seconds == []
