"""Rounds of the probe against a fake API whose lists reflect a like after a set delay."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from services.client.errors import RefusedError, UnreachableError
from services.common.metrics_server import Heartbeat
from services.contracts.events import Action
from services.contracts.ids import ItemId
from services.contracts.rest import Problem
from services.probe.measure import POLL_SECONDS
from services.probe.metrics import Metrics, Outcome
from services.probe.prober import Prober
from services.probe.viewer import Shown, Viewer

PATIENCE = 10.0


def refusal(reason: str) -> RefusedError:
    return RefusedError(Problem(title="Refused", status=404, detail=reason), reason)


LIST = UUID(int=1)


@dataclass
class Topic:
    """What was liked and when, by a clock that only `sleep` moves."""

    now: float = 1000.0
    liked_at: dict[ItemId, float] = field(default_factory=dict)
    sent: list[tuple[str, int, UUID | None]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeApi:
    """A replica that follows the topic `lag` seconds behind; `trouble` may raise before any call."""

    topic: Topic
    films: list[int] = field(default_factory=lambda: [1, 2, 3])
    lag: float = 0.0
    trouble: Callable[[], None] = lambda: None

    def recommended(self) -> Shown:
        self.trouble()
        liked_at = self.topic.liked_at
        seen = {film for film, at in liked_at.items() if self.topic.now - at >= self.lag}
        return Shown(LIST, [ItemId(film) for film in self.films if film not in seen])

    def liked(self) -> list[ItemId]:
        self.trouble()
        return list(self.topic.liked_at)

    def send(self, action: Action, film: ItemId, request_id: UUID | None = None) -> None:
        self.trouble()
        self.topic.sent.append((action.value, film, request_id))
        if action is Action.LIKE:
            self.topic.liked_at[film] = self.topic.now
        else:
            del self.topic.liked_at[film]


@dataclass
class World:
    apis: list[FakeApi]
    topic: Topic
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    grace: float = 0
    prober: Prober = field(init=False)

    def __post_init__(self) -> None:
        self.prober = Prober(
            cast("list[Viewer]", self.apis),
            Metrics(self.registry),
            patience_seconds=PATIENCE,
            grace_seconds=self.grace,
            clock=lambda: self.topic.now,
            sleep=self.topic.sleep,
        )

    def rounds(self) -> dict[str, float]:
        """The number of rounds by outcome."""
        return {
            outcome.value: self.registry.get_sample_value("like_probe_rounds_total", {"outcome": outcome.value}) or 0
            for outcome in Outcome
        }

    def measured(self) -> tuple[float, float]:
        """How many measurements there are, and their sum in seconds."""
        value = self.registry.get_sample_value
        return value("like_to_list_seconds_count") or 0, value("like_to_list_seconds_sum") or 0


def world(*lags: float, films: list[list[int]] | None = None) -> World:
    topic = Topic()
    shown = films or [[1, 2, 3]] * len(lags)
    return World([FakeApi(topic, films=shown[n], lag=lag) for n, lag in enumerate(lags)], topic)


def test_a_round_likes_a_film_sees_it_leave_the_list_and_takes_the_like_back() -> None:
    w = world(0.0)
    assert w.prober.round() is Outcome.OK
    assert w.topic.sent == [("like", 1, LIST), ("unlike", 1, None)]
    assert w.topic.liked_at == {}
    assert w.measured() == (1, 0)
    assert w.rounds() == {"ok": 1, "timeout": 0, "refused": 0, "unreachable": 0}


def test_every_outcome_is_counted_from_0() -> None:
    samples = [s for m in world(0.0).registry.collect() for s in m.samples if s.name == "like_probe_rounds_total"]
    assert {s.labels["outcome"]: s.value for s in samples} == dict.fromkeys(Outcome, 0)


@pytest.mark.parametrize("lags", [(0.0, 0.25), (0.25, 0.0), (0.25, 0.25), (0.1, 0.25, 0.2)])
def test_the_time_is_that_of_the_slowest_replica(lags: tuple[float, ...]) -> None:
    w = world(*lags)
    assert w.prober.round() is Outcome.OK
    count, seconds = w.measured()
    assert count == 1
    assert 0.25 <= seconds < 0.25 + 2 * POLL_SECONDS


def test_the_film_is_one_that_every_list_shows() -> None:
    w = world(0.0, 0.1, films=[[5, 3, 9], [9, 3, 7]])
    assert w.prober.round() is Outcome.OK
    assert w.topic.sent[0] == ("like", 3, LIST)
    assert w.measured()[1] >= 0.1


@pytest.mark.parametrize("films", [[[]], [[1, 2], [3, 4]]])
def test_without_a_film_to_like_nothing_is_sent(films: list[list[int]]) -> None:
    w = world(*[0.0 for _ in films], films=films)
    assert w.prober.round() is Outcome.REFUSED
    assert w.topic.sent == []


def test_a_list_that_keeps_showing_the_film_is_a_timeout_and_not_measured() -> None:
    w = world(0.0, 1e9)
    assert w.prober.round() is Outcome.TIMEOUT
    assert w.topic.now == pytest.approx(1000 + PATIENCE, abs=2 * POLL_SECONDS)
    assert w.measured() == (0, 0)


def test_the_next_round_takes_back_what_the_last_one_left_liked() -> None:
    w = world(1e9)
    w.prober.round()
    assert list(w.topic.liked_at) == [1]
    w.apis[0].lag = 0
    assert w.prober.round() is Outcome.OK
    assert [(action, film) for action, film, _ in w.topic.sent] == [
        ("like", 1), ("unlike", 1), ("like", 1), ("unlike", 1),
    ]  # fmt: skip
    assert w.topic.liked_at == {}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(refusal("503"), Outcome.REFUSED), (UnreachableError("nobody", "nobody"), Outcome.UNREACHABLE)],
)
@pytest.mark.parametrize("call", range(7))
def test_a_failure_at_any_call_ends_the_round_and_the_next_one_succeeds(
    error: Exception, outcome: Outcome, call: int
) -> None:
    w = world(0.0)
    calls = iter(range(100))

    def trouble() -> None:
        if next(calls) == call:
            raise error

    w.apis[0].trouble = trouble
    # liked, list, like, list, liked, unlike: six calls.
    assert w.prober.round() is (outcome if call < 6 else Outcome.OK)
    w.apis[0].trouble = lambda: None
    assert w.prober.round() is Outcome.OK
    assert w.topic.liked_at == {}
    assert sum(w.rounds().values()) == 2


def test_only_a_change_of_outcome_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    w = world(0.0)
    caplog.set_level(logging.INFO)

    def refuse() -> None:
        raise refusal("503 no model")

    for trouble in [lambda: None] * 3 + [refuse] * 3 + [lambda: None] * 2:
        w.apis[0].trouble = trouble
        w.prober.round()
    logged = [(r.levelname, vars(r)["outcome"], vars(r).get("why")) for r in caplog.records]
    assert logged == [("INFO", "ok", None), ("WARNING", "refused", "503 no model"), ("INFO", "ok", None)]


@pytest.mark.parametrize(
    ("lag", "interval", "starts"),
    [(0.0, 15, [0, 15, 30]), (1e9, 15, [0, 15, 30]), (1e9, 1, [0, PATIENCE, 2 * PATIENCE])],
)
def test_rounds_begin_at_the_interval_or_when_a_longer_one_has_ended(
    lag: float, interval: float, starts: list[float]
) -> None:
    w = world(lag)
    began: list[float] = []

    class ThreeRounds(Heartbeat):
        def beat(self) -> None:
            if len(began) == 3:
                raise SystemExit
            began.append(w.topic.now - 1000)

    with pytest.raises(SystemExit):
        w.prober.run(interval, ThreeRounds())
    assert began == pytest.approx(starts, abs=5 * POLL_SECONDS)


def test_failures_before_the_first_success_count_only_after_the_time_of_grace() -> None:
    topic = Topic()
    api = FakeApi(topic, films=[], lag=0.0)
    w = World([api], topic, grace=60)
    assert w.prober.round() is Outcome.REFUSED
    assert w.rounds()["refused"] == 0, "there is no model yet"
    topic.now += 60
    w.prober.round()
    assert w.rounds()["refused"] == 1, "there should be one by now"

    other = World([FakeApi(topic, films=[1, 2, 3], lag=0.0)], topic, grace=60)
    assert other.prober.round() is Outcome.OK
    other.apis[0].films = []
    other.prober.round()
    assert other.rounds() == {"ok": 1, "timeout": 0, "refused": 1, "unreachable": 0}, "it has worked before"
