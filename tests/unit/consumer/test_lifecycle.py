from contextlib import AbstractContextManager, nullcontext

import pytest

from services.consumer.lifecycle import GivenUpError, Lifecycle, Phase


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def lifecycle(clock: Clock | None = None) -> Lifecycle:
    return Lifecycle(revoke_seconds=3.0, stop_seconds=6.0, clock=clock or Clock())


def entering(phase: Phase, life: Lifecycle) -> AbstractContextManager[None]:
    if phase is Phase.CLOSING:
        life.close()
    return {Phase.STORING: life.storing, Phase.RELEASING: life.releasing}.get(phase, nullcontext)()


@pytest.mark.parametrize(
    ("phase", "may_poll", "may_release"),
    [
        (Phase.CONSUMING, True, True),
        (Phase.STORING, True, False),
        (Phase.RELEASING, False, False),
        (Phase.CLOSING, False, False),
    ],
)
def test_a_phase_tells_what_may_be_done(phase: Phase, may_poll: bool, may_release: bool) -> None:
    life = lifecycle()
    with entering(phase, life):
        assert life.phase is phase
        assert (life.may_poll, life.may_release) == (may_poll, may_release)


@pytest.mark.parametrize("phase", [Phase.STORING, Phase.RELEASING])
def test_storing_returns_to_consuming_even_when_it_fails(phase: Phase) -> None:
    life = lifecycle()
    with pytest.raises(ConnectionError), entering(phase, life):
        raise ConnectionError
    assert life.phase is Phase.CONSUMING


@pytest.mark.parametrize("inner", [Phase.STORING, Phase.RELEASING])
@pytest.mark.parametrize("outer", [Phase.STORING, Phase.RELEASING, Phase.CLOSING])
def test_nothing_is_stored_while_something_is_stored_or_after_closing(outer: Phase, inner: Phase) -> None:
    life = lifecycle()
    with entering(outer, life):
        with pytest.raises(AssertionError, match=f"{inner.value} in the phase {outer.value}"), entering(inner, life):
            pass
        assert life.phase is outer


def test_after_a_failure_nothing_is_stored_for_a_revocation_and_the_first_error_is_raised() -> None:
    life = lifecycle()
    life.raise_failure()
    life.fail(KeyError("first"))
    life.fail(ValueError("second"))
    assert not life.may_release
    for ask in (life.raise_failure, life.raise_if_over):
        with pytest.raises(KeyError, match="first"):
            ask()


def test_without_a_request_to_stop_storing_may_take_for_ever() -> None:
    clock = Clock()
    life = lifecycle(clock)
    with life.storing():
        life.raise_if_over()
        clock.now += 1e6
        life.raise_if_over()


def test_the_time_after_a_stop_begins_when_it_is_first_asked_for() -> None:
    clock = Clock()
    life = lifecycle(clock)
    with life.storing():
        life.stop()
        assert life.is_stopping
        clock.now += 100
        life.raise_if_over()
        clock.now += 5.9
        life.raise_if_over()
        clock.now += 0.1
        with pytest.raises(GivenUpError):
            life.raise_if_over()


def test_a_revocation_has_its_own_deadline_also_when_a_stop_is_asked_for_meanwhile() -> None:
    clock = Clock()
    life = lifecycle(clock)
    with life.releasing():
        life.stop()
        clock.now += 2.9
        life.raise_if_over()
        clock.now += 0.1
        with pytest.raises(GivenUpError):
            life.raise_if_over()
    with life.storing():
        life.raise_if_over()
        clock.now += 6.0
        with pytest.raises(GivenUpError):
            life.raise_if_over()


def test_a_revocations_deadline_ends_with_it() -> None:
    clock = Clock()
    life = lifecycle(clock)
    with pytest.raises(ConnectionError), life.releasing():
        raise ConnectionError
    clock.now += 1e6
    life.raise_if_over()


def test_a_failure_comes_before_the_deadline() -> None:
    clock = Clock()
    life = lifecycle(clock)
    with life.releasing():
        clock.now += 3
        life.fail(KeyError("gap"))
        with pytest.raises(KeyError):
            life.raise_if_over()
