"""The gate: whether a new model may replace the one that is served. Pure: figures in, decision out.

Three things can be known of the new model beside a rival: it is better (beside the champion: no worse than the limits
allow), it is worse, or there are too few users to tell. Each is asked in both protocols: worse in one is worse; better
in one and not worse in the other is better. The first promotes and the second refuses. Too few users to tell promotes
where a refusal could protect nothing: there is no champion, so that nothing is served at all; or the champion was made
by the same recipe, and the new model is that recipe with newer viewers and films. A changed recipe must prove itself:
there the champion stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite

from pydantic import BaseModel, ConfigDict, Field

from services.trainer.evaluation.comparison import Comparison
from services.trainer.evaluation.evaluate import POPULAR, POPULAR_RECENT

METRIC = "ndcg@10"
CHAMPION = "champion"
"""Name of the champion's recipe in an evaluation."""
SPLIT, STREAMING = "split", "streaming"
PROTOCOLS = {SPLIT: "of the split", STREAMING: "in streaming"}
"""Names of the protocols in `services.trainer.evaluation.evaluate`, and in sentences."""
_OWN_LIKES = 0.5
"""A bundle finds likes that it was trained on at least this well, as a share of how well its recipe finds new ones."""
RIVALS = {POPULAR: "popularity", POPULAR_RECENT: "recent popularity", CHAMPION: "the champion's recipe"}


class GateLimits(BaseModel):
    """Tolerances for a new model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric_drop: float = Field(default=0.05, ge=0, lt=1, description="Share of the champion's NDCG that may be lost.")
    coverage_drop: float = Field(default=0.3, ge=0, lt=1, description="Share of its coverage that may be lost.")
    shrinkage: float = Field(default=0.10, ge=0, lt=1, description="Share of items or users that may be lost.")
    drift: float = Field(default=0.25, gt=0, description="Population stability index of the signals beside its own.")
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


Comparisons = Mapping[str, Mapping[str, Comparison]]
"""By protocol and rival, keys of `PROTOCOLS` and `RIVALS`."""


@dataclass(frozen=True)
class Findings:
    """What is known about a new model, and about the champion; None: not known, or there is no champion."""

    comparisons: Comparisons
    """The champion's figure is that of its *recipe* trained on the same training part: the champion itself has seen the
    test part, and its recorded metrics are of other data; neither compares. Empty: there was nobody to measure."""
    size: Size
    champion_size: Size | None = None
    newcomers: Comparison | None = None
    """Beside recent popularity, in streaming, for viewers with at most two likes."""
    coverage: float | None = None
    champion_coverage: float | None = None
    until: datetime | None = None
    """When the last signal of its data was given."""
    champion_until: datetime | None = None
    drift: float | None = None
    """Population stability index of its signals beside the champion's."""
    leaked: int = 0
    """How many signals of the test part the training part has."""
    served_ndcg: float | None = None
    """In streaming, of the bundle itself, which knows the answers."""
    recipe_ndcg: float | None = None
    """In streaming, of its recipe, which does not."""
    same_recipe: bool = False
    """The champion was made by the same recipe."""


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


def decide(findings: Findings, limits: GateLimits) -> Decision:
    """Judge a model that was measured beside its rivals on the same users.

    It must be better than popularity and recent popularity, may lose to the champion no more than the limits say, and
    may not have lost data, coverage or its newcomers.

    >>> beside = Comparison(candidate=0.25, rival=0.2, low=0.03, high=0.07, users=943)
    >>> print(decide(Findings({"split": {"popular": beside}}, Size(10, 10)), GateLimits()))
    NDCG@10 of the split 0.2500 against 0.2000 of popularity: good enough, +0.0500 (95 %: +0.0300 to +0.0700, 943 users)
    """
    told: list[str] = []
    verdicts = {}
    worse = _broken(findings, limits)
    for rival, described in RIVALS.items():
        found = []
        for protocol, comparisons in findings.comparisons.items():
            if rival in comparisons:
                verdict = judge(comparisons[rival], limits.metric_drop if rival == CHAMPION else 0, limits.min_users)
                found.append(verdict)
                reason = _told(PROTOCOLS[protocol], comparisons[rival], described, verdict)
                (worse if verdict is Verdict.WORSE else told).append(reason)
        if found:
            verdicts[rival] = Verdict.GOOD if Verdict.GOOD in found else Verdict.TOO_FEW
    if worse:
        return Decision(False, Verdict.WORSE, tuple(worse))
    if not verdicts:
        told.append(f"nobody could be evaluated: {Verdict.TOO_FEW}")
    elif Verdict.TOO_FEW not in verdicts.values():
        return Decision(True, Verdict.GOOD, tuple(told))
    if findings.champion_size is None:
        return Decision(True, Verdict.TOO_FEW, (*told, "promoted, because nothing is served yet"))
    if findings.same_recipe:
        kept = "promoted, because it is the champion's recipe with newer data"
        return Decision(True, Verdict.TOO_FEW, (*told, kept))
    return Decision(False, Verdict.TOO_FEW, (*told, "the champion stays: a new recipe has to be shown to be better"))


def _told(protocol: str, c: Comparison, rival: str, verdict: Verdict) -> str:
    return (
        f"{METRIC.upper()} {protocol} {c.candidate:.4f} against {c.rival:.4f} of {rival}: {verdict},"
        f" {c.difference:+.4f} (95 %: {c.low:+.4f} to {c.high:+.4f}, {c.users} users)"
    )


def _broken(f: Findings, limits: GateLimits) -> list[str]:
    """Return what forbids the model, whatever its figures beside its rivals are."""
    reasons = []
    if f.leaked:
        reasons.append(f"the evaluation is worth nothing: {f.leaked} signals of its test part are in the training part")
    if f.champion_size is not None:
        rows = (("items", f.size.items, f.champion_size.items), ("users", f.size.users, f.champion_size.users))
        reasons += [
            f"{name} shrank from {then} to {now}" for name, now, then in rows if now < then * (1 - limits.shrinkage)
        ]
    if f.until is not None and f.champion_until is not None and f.until < f.champion_until:
        reasons.append(f"its data end on {f.until:%Y-%m-%d %H:%M}, the champion's on {f.champion_until:%Y-%m-%d %H:%M}")
    if f.drift is not None and f.drift > limits.drift:
        reasons.append(
            f"its signals are of another kind than the champion's: population stability index {f.drift:.2f}, at most"
            f" {limits.drift:.2f} may be"
        )
    if f.coverage is not None and f.champion_coverage is not None:
        least = f.champion_coverage * (1 - limits.coverage_drop)
        if f.coverage < least:
            reasons.append(
                f"its lists show {f.coverage:.1%} of the films, the champion's {f.champion_coverage:.1%}; at least"
                f" {least:.1%} must be"
            )
    if f.newcomers is not None and judge(f.newcomers, 0, limits.min_users) is Verdict.WORSE:
        whom = f"{PROTOCOLS[STREAMING]}, for viewers with at most two likes,"
        reasons.append(_told(whom, f.newcomers, RIVALS[POPULAR_RECENT], Verdict.WORSE))
    if f.served_ndcg is not None and f.recipe_ndcg is not None and f.served_ndcg < f.recipe_ndcg * _OWN_LIKES:
        reasons.append(
            f"the bundle is not what was measured: it finds likes of its own training data with {METRIC.upper()}"
            f" {f.served_ndcg:.4f}, its recipe finds likes that it has never seen with {f.recipe_ndcg:.4f}"
        )
    return reasons
