import threading

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from services.consumer.errors import StopError
from services.consumer.lifecycle import GivenUpError
from services.consumer.patience import Patience
from services.consumer.worker import Worker


class Waits:
    """Notes how long it was asked to wait, and gives up after ``patience`` waits."""

    def __init__(self, patience: int = 100) -> None:
        self.seconds: list[float] = []
        self.resumed = 0
        self._patience = patience

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) > self._patience:
            raise GivenUpError

    def work_ahead(self) -> bool:
        return False

    def resume(self) -> None:
        self.resumed += 1


class Server:
    """Answers with these errors in turn, then with the number of calls."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def insert(self) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls


def patience(waits: Waits, reasons: list[str] | None = None) -> Patience:
    return Patience(Worker("test"), waits, (reasons if reasons is not None else []).append, random_unit=lambda: 1.0)


def test_an_overloaded_server_is_asked_again_ever_more_slowly_until_it_answers() -> None:
    waits, reasons = Waits(), list[str]()
    server = Server(*[DatabaseError("too many parts", code=252)] * 9)
    assert patience(waits, reasons).call("events", server.insert) == 10
    assert waits.seconds == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert reasons == ["252"] * 9
    assert waits.resumed == 1


def test_refused_credentials_are_retried_slowly_and_counted() -> None:
    waits, reasons = Waits(), list[str]()
    assert patience(waits, reasons).call("events", Server(DatabaseError("no", code=516)).insert) == 2
    assert waits.seconds == [5.0]
    assert reasons == ["516"]


def test_a_fault_of_the_data_is_the_callers() -> None:
    with pytest.raises(DatabaseError):
        patience(Waits()).call("events", Server(DatabaseError("constraint", code=469)).insert)


def test_a_foreign_schema_stops() -> None:
    with pytest.raises(StopError, match="run the migrations"):
        patience(Waits()).call("events", Server(DatabaseError("no table", code=60)).insert)


def test_when_time_is_over_it_gives_up() -> None:
    with pytest.raises(GivenUpError):
        patience(Waits(patience=2)).call("events", Server(*[ConnectionResetError()] * 9).insert)


def test_a_call_that_hangs_does_not_keep_the_loop_from_polling() -> None:
    never = threading.Event()
    waits = Waits(patience=3)
    with pytest.raises(GivenUpError):
        patience(waits).call("events", lambda: never.wait(30))
    assert len(waits.seconds) == 4
    never.set()
