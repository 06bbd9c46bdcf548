"""The gate's verdicts, from intervals written down by hand."""

import pytest

from services.trainer.evaluation.comparison import Comparison
from services.trainer.evaluation.evaluate import POPULAR, POPULAR_RECENT
from services.trainer.evaluation.gate import (
    CHAMPION,
    Decision,
    GateLimits,
    Size,
    Verdict,
    decide,
    judge,
)

LIMITS = GateLimits(metric_drop=0.05, shrinkage=0.1, min_users=20)
SIZE = Size(items=100, users=1000)


def beside(rival: float, low: float, high: float, users: int = 500) -> Comparison:
    """A candidate of 0.25 beside a rival."""
    return Comparison(candidate=0.25, rival=rival, low=low, high=high, users=users)


CLEARLY_BETTER, CLEARLY_WORSE = beside(0.2, 0.03, 0.07), beside(0.3, -0.07, -0.03)
UNCLEAR, EQUAL = beside(0.24, -0.01, 0.03), beside(0.25, 0.0, 0.0)


def verdict(
    *, popular: Comparison = CLEARLY_BETTER, recent: Comparison = CLEARLY_BETTER, champion: Comparison | None = EQUAL,
    size: Size = SIZE, before: Size | None = SIZE, same_recipe: bool = False,
) -> Decision:  # fmt: skip
    comparisons = {POPULAR: popular, POPULAR_RECENT: recent}
    if champion is not None:
        comparisons[CHAMPION] = champion
    return decide(comparisons, size, before, LIMITS, same_recipe=same_recipe)


def test_a_model_as_good_as_the_champion_is_promoted_and_every_figure_and_interval_is_told() -> None:
    decision = verdict()
    assert (decision.promote, decision.verdict) == (True, Verdict.GOOD)
    better = "good enough, +0.0500 (95 %: +0.0300 to +0.0700, 500 users)"
    assert decision.reasons == (
        f"NDCG@10 0.2500 against 0.2000 of popularity: {better}",
        f"NDCG@10 0.2500 against 0.2000 of recent popularity: {better}",
        "NDCG@10 0.2500 against 0.2500 of the champion's recipe: good enough,"
        " +0.0000 (95 %: +0.0000 to +0.0000, 500 users)",
    )


@pytest.mark.parametrize("rival", ["popular", "recent", "champion"])
@pytest.mark.parametrize("same_recipe", [False, True])
def test_a_model_that_is_worse_than_any_rival_is_refused_and_that_rival_is_named(rival: str, same_recipe: bool) -> None:
    decision = verdict(**{rival: CLEARLY_WORSE}, same_recipe=same_recipe)  # type: ignore[arg-type]
    assert (decision.promote, decision.verdict) == (False, Verdict.WORSE)
    assert len(decision.reasons) == 1
    assert ": worse, -0.0500 (95 %: -0.0700 to -0.0300" in decision.reasons[0]


def test_a_first_model_that_recent_popularity_beats_is_refused() -> None:
    assert not verdict(recent=CLEARLY_WORSE, champion=None, before=None).promote


@pytest.mark.parametrize("rival", ["popular", "recent", "champion"])
def test_too_few_users_to_tell_is_a_verdict_of_its_own_with_its_consequence_in_the_reasons(rival: str) -> None:
    unclear = beside(0.25, -0.1, 0.1) if rival == "champion" else UNCLEAR
    changed = verdict(**{rival: unclear})  # type: ignore[arg-type]
    assert (changed.promote, changed.verdict) == (False, Verdict.TOO_FEW)
    assert "too few users to tell" in str(changed)
    assert changed.reasons[-1] == "the champion stays: a new recipe has to be shown to be better"
    same = verdict(recent=UNCLEAR, same_recipe=True)
    assert (same.promote, same.verdict) == (True, Verdict.TOO_FEW)
    assert same.reasons[-1] == "promoted, because it is the champion's recipe with newer data"
    first = verdict(recent=UNCLEAR, champion=None, before=None)
    assert (first.promote, first.verdict) == (True, Verdict.TOO_FEW)
    assert first.reasons[-1] == "promoted, because nothing is served yet"


def test_a_clear_interval_of_fewer_users_than_the_minimum_tells_nothing() -> None:
    few = beside(0.2, 0.03, 0.07, users=19)
    assert judge(few, 0, 20) is Verdict.TOO_FEW
    assert judge(few.model_copy(update={"users": 20}), 0, 20) is Verdict.GOOD
    assert decide({}, SIZE, SIZE, LIMITS) == Decision(
        False,
        Verdict.TOO_FEW,
        (
            "nobody could be evaluated: too few users to tell",
            "the champion stays: a new recipe has to be shown to be better",
        ),
    )


def test_a_rival_of_the_same_figure_is_not_beaten_but_a_champion_may_be_equalled() -> None:
    assert judge(EQUAL, 0, 20) is Verdict.TOO_FEW
    assert judge(EQUAL, 0.05, 20) is Verdict.GOOD


def test_the_champion_may_lose_the_tolerance_and_no_more() -> None:
    # 5 % of 0.25 are 0.0125.
    assert judge(beside(0.25, -0.0124, 0.01), 0.05, 20) is Verdict.GOOD
    assert judge(beside(0.25, -0.0126, 0.01), 0.05, 20) is Verdict.TOO_FEW
    assert judge(beside(0.25, -0.05, -0.0126), 0.05, 20) is Verdict.WORSE


def test_lost_items_or_users_are_refused_by_name() -> None:
    assert verdict(size=Size(items=90, users=900)).promote
    assert verdict(size=Size(items=89, users=1000)).reasons == ("items shrank from 100 to 89",)
    assert verdict(size=Size(items=100, users=899)).reasons == ("users shrank from 1000 to 899",)


@pytest.mark.parametrize("name", ["candidate", "rival", "low", "high"])
def test_a_figure_that_is_not_a_number_is_refused(name: str) -> None:
    nan = CLEARLY_BETTER.model_copy(update={name: float("nan")})
    assert not verdict(popular=nan, champion=None, before=None).promote
