"""The gate: whether a new model may replace the one that is served. Pure: figures in, decision out."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

METRIC = "ndcg"
CANDIDATE, CHAMPION, POPULAR = "ials", "champion", "popular"
"""Names of the models in `Evaluation.metrics`."""


class GateLimits(BaseModel):
    """How much worse a new model may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric_drop: float = Field(default=0.05, ge=0, lt=1, description="Share of the champion's NDCG that may be lost.")
    shrinkage: float = Field(default=0.10, ge=0, lt=1, description="Share of items or users that may be lost.")
    min_users: int = Field(default=20, ge=1, description="Fewer evaluated users prove nothing.")


@dataclass(frozen=True)
class Size:
    """What a model covers."""

    items: int
    users: int


@dataclass(frozen=True)
class Decision:
    """The verdict; the reasons are of the refusal, or say what was found good."""

    promote: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


def decide(
    metrics: dict[str, dict[str, float]], users: int, size: Size, champion_size: Size | None, limits: GateLimits
) -> Decision:
    """Refuse a model that popularity beats, that is clearly below the champion, or that has lost data.

    Args:
        metrics: per model, of one evaluation on one split. The champion's figure is that of its
            *recipe* trained on the same training part: the champion itself has seen the test part, and
            its recorded metrics are of other data; neither compares.
        users: how many were evaluated.
        size: of the candidate.
        champion_size: of the champion; None when there is none, and then only popularity counts.
        limits: the tolerances.

    >>> decide({"ials": {"ndcg": 0.25}, "popular": {"ndcg": 0.2}}, 100, Size(10, 10), None, GateLimits())
    Decision(promote=True, reasons=('ndcg 0.2500 against 0.2000 of popularity',))
    >>> decide({"ials": {"ndcg": 0.1}, "popular": {"ndcg": 0.2}}, 100, Size(10, 10), None, GateLimits()).promote
    False
    """
    refusals: list[str] = []
    good: list[str] = []
    if users < limits.min_users:
        refusals.append(f"only {users} users could be evaluated, {limits.min_users} are needed")
    else:
        own, popular = metrics[CANDIDATE][METRIC], metrics[POPULAR][METRIC]
        rivals = [(popular, popular, "popularity")]
        if CHAMPION in metrics:
            recipe = metrics[CHAMPION][METRIC]
            rivals.append((recipe * (1 - limits.metric_drop), recipe, "the champion's recipe"))
        for least, value, name in rivals:
            # Not `own < least`: a figure that is not a number must not pass.
            (good if own >= least else refusals).append(f"{METRIC} {own:.4f} against {value:.4f} of {name}")
    if champion_size is not None:
        for name, now, before in (
            ("items", size.items, champion_size.items),
            ("users", size.users, champion_size.users),
        ):
            if now < before * (1 - limits.shrinkage):
                refusals.append(f"{name} shrank from {before} to {now}")
    return Decision(not refusals, tuple(refusals or good))
