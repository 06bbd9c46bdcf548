"""The gate's verdicts, from intervals written down by hand."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from services.trainer.evaluation.comparison import Comparison
from services.trainer.evaluation.evaluate import POPULAR, POPULAR_RECENT
from services.trainer.evaluation.gate import (
    CHAMPION,
    Decision,
    Findings,
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
    return decide(Findings({"split": comparisons}, size, before, same_recipe=same_recipe), LIMITS)


def test_a_model_as_good_as_the_champion_is_promoted_and_every_figure_and_interval_is_told() -> None:
    decision = verdict()
    assert (decision.promote, decision.verdict) == (True, Verdict.GOOD)
    better = "good enough, +0.0500 (95 %: +0.0300 to +0.0700, 500 users)"
    assert decision.reasons == (
        f"NDCG@10 of the split 0.2500 against 0.2000 of popularity: {better}",
        f"NDCG@10 of the split 0.2500 against 0.2000 of recent popularity: {better}",
        "NDCG@10 of the split 0.2500 against 0.2500 of the champion's recipe: good enough,"
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
    assert decide(Findings({}, SIZE, SIZE), LIMITS) == Decision(
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


def test_worse_in_one_protocol_is_worse_and_better_in_one_is_enough_where_the_other_cannot_tell() -> None:
    def both(split: Comparison, streaming: Comparison) -> Decision:
        comparisons = {"split": {POPULAR: split}, "streaming": {POPULAR: streaming}}
        return decide(Findings(comparisons, SIZE, SIZE), LIMITS)

    assert both(CLEARLY_BETTER, UNCLEAR).promote
    assert both(UNCLEAR, CLEARLY_BETTER).promote
    assert not both(UNCLEAR, UNCLEAR).promote
    refused = both(CLEARLY_BETTER, CLEARLY_WORSE)
    assert refused.reasons == (
        "NDCG@10 in streaming 0.2500 against 0.3000 of popularity: worse,"
        " -0.0500 (95 %: -0.0700 to -0.0300, 500 users)",
    )


NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"leaked": 7}, "the evaluation is worth nothing: 7 signals of its test part are in the training part"),
        (
            {"until": NOON - timedelta(days=365), "champion_until": NOON},
            "its data end on 2025-11-27 12:00, the champion's on 2026-11-27 12:00",
        ),
        (
            {"coverage": 0.06, "champion_coverage": 0.14},
            "its lists show 6.0% of the films, the champion's 14.0%; at least 9.8% must be",
        ),
        (
            {"drift": 0.6},
            "its signals are of another kind than the champion's: population stability index 0.60, at most 0.25 may be",
        ),
        (
            {"served_ndcg": 0.004, "recipe_ndcg": 0.12},
            "the bundle is not what was measured: it finds likes of its own training data with NDCG@10 0.0040, its"
            " recipe finds likes that it has never seen with 0.1200",
        ),
        (
            {"newcomers": CLEARLY_WORSE},
            "NDCG@10 in streaming, for viewers with at most two likes, 0.2500 against 0.3000 of recent popularity:"
            " worse, -0.0500 (95 %: -0.0700 to -0.0300, 500 users)",
        ),
    ],
)
def test_what_forbids_a_model_is_told_in_words_however_good_its_figures_are(found: Any, reason: str) -> None:
    good = Findings({"split": {POPULAR: CLEARLY_BETTER}}, SIZE, SIZE)
    assert decide(good, LIMITS).promote
    assert decide(replace(good, **found), LIMITS).reasons == (reason,)


@pytest.mark.parametrize(
    "found",
    [
        {"until": NOON, "champion_until": NOON},
        {"coverage": 0.098, "champion_coverage": 0.14},
        {"coverage": 0.01},
        {"drift": 0.25},
        {"served_ndcg": 0.06, "recipe_ndcg": 0.12},
        {"newcomers": UNCLEAR},
    ],
)
def test_what_is_within_the_limits_forbids_nothing(found: Any) -> None:
    assert decide(replace(Findings({"split": {POPULAR: CLEARLY_BETTER}}, SIZE, SIZE), **found), LIMITS).promote
