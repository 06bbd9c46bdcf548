"""Deletes erased viewers from bundles, run folders and, again, ClickHouse; the importer does so in files.

It is independent of the night's model. A bundle that may still be served – the champion's, one that a
rollback may go to, a candidate's – is replaced by a copy without the viewers: a new version in the old one's place,
with the old one's name as ``origin`` in its manifest's parameters. So a rollback goes where it went before. A version
that the gate refused is given up. Then the old bundle is deleted.

What cannot be forgotten now (a run that goes on, a store that is away, a damaged file) keeps nothing else from it: its
viewers' erasure stays pending, and the next night tries again.
"""

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection

from services.common import erased, postgres, registry
from services.common.bundle import BundleError, open_bundle, reports_in, write_bundle
from services.common.erased import Where
from services.common.registry import ModelVersion, Stage
from services.contracts.bundle import MANIFEST_FILE, Manifest
from services.contracts.ids import UserId
from services.trainer import run_folders
from services.trainer.bundles.without_viewers import without_viewers
from services.trainer.run import Extracted, Run

Viewers = NDArray[np.int64]
_LOCK = int.from_bytes(b"forget")
_COPY = re.compile(r"\.[0-9a-f]{8}$")

log = logging.getLogger(__name__)


class ForgetError(Exception):
    """Something could not be read or changed; the message says what. Everything else is done."""


@dataclass
class Forgotten:
    """What was done, and what is pending."""

    replaced: dict[str, str] = field(default_factory=dict)
    """New versions, by the version replaced."""
    deleted: list[str] = field(default_factory=list)
    """Bundles and run folders deleted without replacement."""
    waiting: list[str] = field(default_factory=list)
    """Bundles and run folders in use, to be deleted next time."""
    errors: list[str] = field(default_factory=list)
    left: set[UserId] = field(default_factory=set)
    """Erased viewers with data left."""

    def answer(self) -> dict[str, Any]:
        """Return what the command prints: counts and names, no viewer ids."""
        return {
            "replaced": self.replaced,
            "deleted": self.deleted,
            "waiting": self.waiting,
            "pending": len(self.left),
        }

    def keep(self, what: str, viewers: Viewers, error: BaseException | None = None) -> None:
        """Record that data of these viewers stays for now."""
        self.left.update(UserId(int(viewer)) for viewer in viewers)
        if error is None:
            self.waiting.append(what)
            return
        self.errors.append(f"{what}: {error}")
        log.error("erased viewers could not be deleted from %s: %s", what, error)


def forget(
    model_dir: Path,
    runs_dir: Path,
    connection: Connection[Any],
    *,
    in_clickhouse: Callable[[frozenset[UserId]], object],
    now: datetime,
) -> Forgotten:
    """Delete the data of every erased viewer there, and record whose is gone. Idempotent. Blocks.

    ``in_clickhouse`` does so in the store.

    Raises:
        ForgetError: something failed; everything else is done.
        psycopg.Error: PostgreSQL does not answer.
    """
    done = Forgotten()
    with bundles_lock(connection):
        everyone = erased.erased_viewers(connection)
        if not everyone:
            return done
        viewers = as_array(everyone)
        unfinished = erased.erased_viewers(connection, pending_in=Where.MODELS)
        _each("ClickHouse", as_array(unfinished), done, lambda: in_clickhouse(unfinished) if unfinished else None)
        for path in sorted(model_dir.iterdir()) if model_dir.is_dir() else []:
            _each(path.name, viewers, done, partial(_forget_bundle, path, connection, viewers, now, done))
        with run_folders.runs_lock(runs_dir):
            for run in run_folders.runs(runs_dir):
                _each(run.run_id, viewers, done, partial(_forget_run, run, viewers, unfinished, now, done))
        registry.forget_canaries(connection, everyone)
        erased.settle(connection, Where.MODELS, everyone - done.left, done.left)
    if done.errors:
        raise ForgetError("; ".join(done.errors))
    return done


@contextmanager
def bundles_lock(connection: Connection[Any]) -> Iterator[None]:
    """Hold the lock for replacing versions by copies; closing the connection releases it."""
    with postgres.advisory_lock(connection, _LOCK):
        yield


def as_array(viewers: frozenset[UserId]) -> Viewers:
    """Return the ids, ascending."""
    return np.array(sorted(viewers), np.int64)


def clean(model_dir: Path, connection: Connection[Any], version: str, viewers: Viewers) -> str:
    """Return the version, or its new replacement if it contained any of these viewers. Needs `bundles_lock`.

    Raises:
        BundleError: the bundle cannot be read.
        RegistryError: the version is not registered, or is released for deletion.
    """
    bundle = open_bundle(model_dir / version)
    if not len(_held(bundle.manifest, bundle.arrays["user_ids"], viewers)):
        return version
    manifest, arrays, models = without_viewers(bundle.manifest, bundle.arrays, bundle.models, viewers)
    # The same viewers removed give the same name, whoever makes the copy.
    rest = hashlib.sha256(np.ascontiguousarray(arrays["user_ids"]).tobytes()).hexdigest()[:8]
    copy = manifest.model_copy(
        update={
            "version": f"{_COPY.sub('', version)}.{rest}",
            "parameters": manifest.parameters | {"origin": version},
        }
    )
    written = open_bundle(write_bundle(model_dir, copy, arrays, models, reports_in(bundle.path))).manifest
    registry.replace(connection, version, written)
    shutil.rmtree(bundle.path)
    log.info("replaced %s by %s, which holds no erased viewer", version, written.version)
    return written.version


def _each(what: str, viewers: Viewers, done: Forgotten, act: Callable[[], object]) -> None:
    """Run the action; record any error, so that the rest continues."""
    try:
        act()
    except Exception as error:  # one bundle, folder or store must not stop the others
        done.keep(what, viewers, error)


def _forget_bundle(path: Path, connection: Connection[Any], viewers: Viewers, now: datetime, done: Forgotten) -> None:
    if not path.is_dir() or not any((path / name).exists() for name in (MANIFEST_FILE, "user_ids.npy")):
        return
    held = _viewers_in(path, viewers)
    if len(held):
        _each(path.name, held, done, partial(_replace_or_delete, path, connection, held, now, done))


def _replace_or_delete(path: Path, connection: Connection[Any], held: Viewers, now: datetime, done: Forgotten) -> None:
    row = None if path.name.startswith(".") else registry.version_named(connection, path.name)
    if row is None:  # still being written, or left incomplete by a crash
        if now - run_folders.changed_at(path) <= run_folders.IDLE:
            done.keep(path.name, held)
            return
    elif row.pruned_at is None and not _released(row, path, connection):
        copy = clean(path.parent, connection, row.version, held)
        if copy != row.version:
            done.replaced[row.version] = copy
        return
    shutil.rmtree(path)
    done.deleted.append(path.name)


def _released(row: ModelVersion, path: Path, connection: Connection[Any]) -> bool:
    """Release bundles that will not be served: rejected ones, and unreadable ones that are not served now."""
    if row.stage is Stage.REJECTED:
        return registry.release_for_deletion(connection, row.version, f"{row.reason}; held viewers who were erased")
    if row.stage is not Stage.ARCHIVED:
        return False
    try:
        open_bundle(path)
    except BundleError as error:
        return registry.release_for_deletion(connection, row.version, str(error))
    return False


def _viewers_in(bundle: Path, viewers: Viewers) -> Viewers:
    """Return which of these viewers a bundle contains; all of them if that is unknown."""
    try:
        ids = np.load(bundle / "user_ids.npy", mmap_mode="r", allow_pickle=False)
        manifest = Manifest.model_validate_json((bundle / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError):
        return viewers
    return _held(manifest, ids, viewers)


def _held(manifest: Manifest, ids: Viewers, viewers: Viewers) -> Viewers:
    named = np.array([c.user_id for model in manifest.models.values() for c in model.canaries], np.int64)
    found: Viewers = viewers[np.isin(viewers, ids) | np.isin(viewers, named)]
    return found


def _forget_run(run: Run, viewers: Viewers, unfinished: frozenset[UserId], now: datetime, done: Forgotten) -> None:
    held = run_folders.viewers_in(run, viewers)
    if not len(held):
        return
    if run_folders.delete(run, now):
        done.deleted.append(run.run_id)
    elif not run.is_complete(Extracted):
        # It read the list of erased viewers when it began, so only later ones can be in it.
        done.keep(run.run_id, as_array(unfinished))
    else:
        done.keep(run.run_id, held)
