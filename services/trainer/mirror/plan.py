"""What MLflow has that the registry does not, and the other way round. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FoundRun:
    """A run of MLflow that the mirror made."""

    id: str
    bundle_version: str
    artifact_uri: str
    is_deleted: bool
    """Marked as deleted, by hand: MLflow keeps its files."""
    is_complete: bool
    """Everything was uploaded, and nobody deleted it."""


@dataclass(frozen=True)
class FoundModel:
    """A version of MLflow's registered model that the mirror made."""

    number: str
    """MLflow's own version number."""
    bundle_version: str
    run_id: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What stays, by bundle version, and what goes. What has no run or no model is to be made."""

    runs: dict[str, FoundRun]
    models: dict[str, FoundModel]
    superfluous_runs: list[FoundRun]
    superfluous_models: list[FoundModel]


def plan(wanted: Collection[str], runs: Iterable[FoundRun], models: Iterable[FoundModel]) -> Plan:
    """Keep one complete run and one model, which is of that run, for each bundle version wanted: the first of each.

    All others are superfluous: of unwanted versions, left incomplete by an interruption, or made twice as an answer
    came too late.
    """
    made = Plan({}, {}, [], [])
    for run in runs:
        if run.is_complete and run.bundle_version in wanted and run.bundle_version not in made.runs:
            made.runs[run.bundle_version] = run
        else:
            made.superfluous_runs.append(run)
    for model in models:
        run_kept = made.runs.get(model.bundle_version)
        if run_kept is not None and run_kept.id == model.run_id and model.bundle_version not in made.models:
            made.models[model.bundle_version] = model
        else:
            made.superfluous_models.append(model)
    return made
