"""The gate: whether a new model may replace the one that is served. Pure: figures in, decision out.

Three things can be known of the new model beside a rival: it is better (beside the champion: no worse than the limits
allow), it is worse, or there are too few users to tell. The first promotes and the second refuses. Too few users to
tell promotes where a refusal could protect nothing: there is no champion, so that nothing is served at all; or the
champion was made by the same recipe, and the new model is that recipe with newer viewers and films. A changed recipe
must prove itself: there the champion stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from pydantic import BaseModel, ConfigDict, Field

from services.trainer.evaluation.comparison import Comparison
from services.trainer.evaluation.evaluate import POPULAR, POPULAR_RECENT

METRIC = "ndcg@10"
CHAMPION = "champion"
"""Name of the champion's recipe in an evaluation."""
RIVALS = {POPULAR: "popularity", POPULAR_RECENT: "recent popularity", CHAMPION: "the champion's recipe"}


class GateLimits(BaseModel):
    """Tolerances for a new model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric_drop: float = Field(default=0.05, ge=0, lt=1, description="Share of the champion's NDCG that may be lost.")
    shrinkage: float = Field(default=0.10, ge=0, lt=1, description="Share of items or users that may be lost.")
    min_users: int = Field(default=20, ge=1, description="The fewest evaluated users that suffice for a verdict.")


class Verdict(StrEnum):
    """The verdict on a model against one rival, or against all."""

    GOOD = "good enough"
    WORSE = "worse"
    TOO_FEW = "too few users to tell"


@dataclass(frozen=True)
class Size:
    """The data that a model covers."""

    items: int
    users: int


@dataclass(frozen=True)
class Decision:
    """The decision; the reasons explain a refusal, or list the findings."""

    promote: bool
    verdict: Verdict
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


def judge(comparison: Comparison, may_lose: float, min_users: int) -> Verdict:
    """Return the verdict of an interval; the candidate may lose the share ``may_lose`` of the rival's figure.

    >>> judge(Comparison(candidate=0.3, rival=0.2, low=0.05, high=0.15, users=500), 0, 20)
    <Verdict.GOOD: 'good enough'>
    >>> judge(Comparison(candidate=0.3, rival=0.2, low=-0.05, high=0.25, users=50), 0, 20)
    <Verdict.TOO_FEW: 'too few users to tell'>
    """
    least = -may_lose * comparison.rival
    if not all(map(isfinite, (comparison.candidate, comparison.rival, comparison.low, comparison.high))):
        return Verdict.WORSE
    if comparison.users < min_users:
        return Verdict.TOO_FEW
    if comparison.low > least or (may_lose > 0 and comparison.low == least):
        return Verdict.GOOD
    return Verdict.WORSE if comparison.high < least else Verdict.TOO_FEW


def decide(
    comparisons: Mapping[str, Comparison],
    size: Size,
    champion_size: Size | None,
    limits: GateLimits,
    *,
    same_recipe: bool = False,
) -> Decision:
    """Judge a model that was measured beside its rivals on one split and the same users.

    It must be better than popularity and recent popularity, may lose to the champion no more than
    ``limits.metric_drop``, and may not have lost data.

    Args:
        comparisons: per rival, keys of `RIVALS`. The champion's figure is that of its *recipe* trained on the same
            training part: the champion itself has seen the test part, and its recorded metrics are of other data;
            neither compares. Empty: there was nobody to measure them on.
        size: of the candidate.
        champion_size: of the champion; None when there is none.
        limits: the tolerances.
        same_recipe: the champion was made by the candidate's recipe.

    >>> beside = Comparison(candidate=0.25, rival=0.2, low=0.03, high=0.07, users=943)
    >>> print(decide({"popular": beside}, Size(10, 10), None, GateLimits()))
    NDCG@10 0.2500 against 0.2000 of popularity: good enough, +0.0500 (95 %: +0.0300 to +0.0700, 943 users)
    """
    verdicts = {
        name: judge(comparison, limits.metric_drop if name == CHAMPION else 0, limits.min_users)
        for name, comparison in comparisons.items()
    }
    reasons = {name: _told(name, comparison, verdicts[name]) for name, comparison in comparisons.items()}
    lost = [] if champion_size is None else _lost(size, champion_size, limits.shrinkage)
    refusals = [reasons[name] for name, verdict in verdicts.items() if verdict is Verdict.WORSE] + lost
    if refusals:
        return Decision(False, Verdict.WORSE, tuple(refusals))
    if not verdicts:
        reasons, verdicts = {"": f"nobody could be evaluated: {Verdict.TOO_FEW}"}, {"": Verdict.TOO_FEW}
    if Verdict.TOO_FEW not in verdicts.values():
        return Decision(True, Verdict.GOOD, tuple(reasons.values()))
    if champion_size is None:
        return Decision(True, Verdict.TOO_FEW, (*reasons.values(), "promoted, because nothing is served yet"))
    if same_recipe:
        kept = "promoted, because it is the champion's recipe with newer data"
        return Decision(True, Verdict.TOO_FEW, (*reasons.values(), kept))
    return Decision(
        False, Verdict.TOO_FEW, (*reasons.values(), "the champion stays: a new recipe has to be shown to be better")
    )


def _told(name: str, comparison: Comparison, verdict: Verdict) -> str:
    c = comparison
    return (
        f"{METRIC.upper()} {c.candidate:.4f} against {c.rival:.4f} of {RIVALS[name]}: {verdict}, {c.difference:+.4f}"
        f" (95 %: {c.low:+.4f} to {c.high:+.4f}, {c.users} users)"
    )


def _lost(size: Size, before: Size, shrinkage: float) -> list[str]:
    rows = (("items", size.items, before.items), ("users", size.users, before.users))
    return [f"{name} shrank from {then} to {now}" for name, now, then in rows if now < then * (1 - shrinkage)]
