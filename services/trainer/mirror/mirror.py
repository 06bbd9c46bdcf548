"""Makes MLflow agree with the registry."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection

from services.common import postgres
from services.common.bundle import open_bundle
from services.common.registry import ModelVersion, Stage
from services.trainer.mirror.contents import contents
from services.trainer.mirror.mlflow_store import MirrorError, MlflowStore
from services.trainer.mirror.plan import FoundModel, FoundRun, plan

_LOCK = int.from_bytes(b"mirror")
_LOCK_SECONDS = 60
_LONGEST_TAG = 5000
_AWAY = "INTERNAL_ERROR"
"""The code of MLflow's error when its server does not answer, also after another attempt; refusals have their own."""

log = logging.getLogger(__name__)


@dataclass
class Mirrored:
    """What was changed, by bundle version."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    champion: str | None = None
    errors: list[str] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """Return what the command prints."""
        return {"added": self.added, "removed": self.removed, "champion": self.champion}


def mirror(versions: Iterable[ModelVersion], store: MlflowStore, model_dir: Path) -> Mirrored:
    """Make MLflow agree with these rows, which are the registry's: all of them, or at least all that are not pruned.

    Afterwards each version that is not pruned has exactly one run and one version of the registered model, with our
    stage and its reason as tags, and the alias `champion` names our champion. Everything else that the mirror ever made
    is removed, with its files: pruned versions, and those that were replaced by a copy without an erased viewer
    (`services.trainer.bundles.forget`). What an erased viewer contributed must not survive here, not even in numbers
    that belong to no single viewer, which are all that is uploaded (`services.trainer.mirror.contents`). So an MLflow
    server belongs to one registry: another's versions would be removed.

    Derived state: nothing is read back from MLflow, and calling it again changes nothing, or finishes what an outage
    interrupted. Removals come first, then stages, then uploads, oldest first. Blocks; callers hold `mirror_lock`.

    Raises:
        MirrorError: some versions could not be uploaded or removed; everything else is done.
        mlflow.exceptions.MlflowException: the server does not answer.
    """
    done = Mirrored()
    rows = {row.version: row for row in sorted(versions, key=_age) if row.pruned_at is None}
    found = plan(rows, store.runs(), store.models())
    for model in found.superfluous_models:
        _each(model.bundle_version, done, partial(store.remove_model, model))
    for run in found.superfluous_runs:
        _each(run.bundle_version, done, partial(_remove, store, run, done))
    for version, model in found.models.items():
        _each(version, done, partial(store.set_tags, model, _tags(rows[version])))
    models = dict(found.models)
    done.champion = _name_champion(store, rows, models)
    for version, row in rows.items():
        if version not in models:
            _each(version, done, partial(_add, store, row, model_dir, found.runs.get(version), models))
    done.added = [version for version in models if version not in found.models]
    if done.added:
        done.champion = _name_champion(store, rows, models)
    if done.errors:
        raise MirrorError("; ".join(done.errors))
    return done


@contextmanager
def mirror_lock(connection: Connection[Any]) -> Iterator[None]:
    """Hold the lock of the mirror, for a minute at most waiting for it; two at once would make everything twice.

    The rows must be read while it is held. Closing the connection releases it.

    Raises:
        psycopg.errors.LockNotAvailable: someone else still mirrors.
    """
    with postgres.advisory_lock(connection, _LOCK, wait_seconds=_LOCK_SECONDS):
        yield


def _age(row: ModelVersion) -> tuple[Any, str]:
    return row.created_at, row.version


def _each(what: str, done: Mirrored, act: Callable[[], object]) -> None:
    """Run the action; record an error that concerns one version alone, so that the rest continues."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        act()
    except Exception as error:
        if isinstance(error, MlflowException) and error.error_code == _AWAY:
            raise  # everything else would wait in vain as well
        log.error("%s could not be mirrored: %s", what, error)  # noqa: TRY400 - the message says it
        done.errors.append(f"{what}: {error}")


def _remove(store: MlflowStore, run: FoundRun, done: Mirrored) -> None:
    store.remove_run(run)
    done.removed.append(run.bundle_version)


def _add(
    store: MlflowStore, row: ModelVersion, model_dir: Path, run: FoundRun | None, models: dict[str, FoundModel]
) -> None:
    if run is None:
        bundle = open_bundle(model_dir / row.version)
        run = store.add_run(bundle.manifest, contents(bundle))
    models[row.version] = store.add_model(run, _tags(row))


def _tags(row: ModelVersion) -> dict[str, str]:
    return {
        "stage": row.stage.value,
        "reason": (row.reason or "")[:_LONGEST_TAG],
        "promoted_at": row.promoted_at.isoformat() if row.promoted_at else "",
    }


def _name_champion(
    store: MlflowStore, rows: Mapping[str, ModelVersion], models: Mapping[str, FoundModel]
) -> str | None:
    """Let the alias name the champion if MLflow has it; otherwise nothing, rather than a version not served."""
    named = next((version for version in models if rows[version].stage is Stage.CHAMPION), None)
    store.set_champion(None if named is None else models[named])
    return named
