"""Deletes folders of finished runs that are old, too many, or contain an erased viewer.

A folder is left alone while a step holds it (`Run.in_use`) and for an hour after the last change in it: the next step
of its run, or the next attempt, may be about to begin.
"""

import fcntl
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.run import LOCK_FILE, Evaluated, Extracted, Published, Run, RunError, Trained, is_still

IDLE = timedelta(hours=1)
"""Longer than any pause between two steps or two attempts of a run."""
KEEP = timedelta(days=14)
"""Older run folders are deleted, even when they are among the newest; a failed run can be resumed until then."""
_DELETED = ".deleted-"

log = logging.getLogger(__name__)


def prune_runs(runs_dir: Path, keep: int, now: datetime) -> list[str]:
    """Delete finished and failed runs, except the newest ``keep`` of the last 14 days; return the deleted ones."""
    if not runs_dir.is_dir():
        return []
    with runs_lock(runs_dir):
        _sweep(runs_dir)
        newest_first = sorted(
            ((changed_at(run.folder), run) for run in runs(runs_dir)), key=lambda aged: aged[0], reverse=True
        )
        doomed = [run for at, (changed, run) in enumerate(newest_first) if at >= keep or now - changed > KEEP]
        return sorted(run.run_id for run in doomed if delete(run, now))


@contextmanager
def runs_lock(runs_dir: Path) -> Iterator[None]:
    """Hold the lock for deleting runs; waits for it."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    with (runs_dir / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def runs(runs_dir: Path) -> list[Run]:
    """Return the runs that have a folder; other files and folders are ignored."""
    found = []
    for folder in sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []:
        try:
            run = Run(runs_dir, folder.name)
        except RunError:
            continue
        if folder.is_dir() and any((folder / name).exists() for name in _CONTENT):
            found.append(run)
    return found


def delete(run: Run, now: datetime) -> bool:
    """Delete the run's folder unless the run is active; return whether it did. Needs `runs_lock`."""
    if now - changed_at(run.folder) <= IDLE:
        return False
    with _claimed(run.folder) as ours:
        if not ours:
            return False
        # Rename first: a run of the same name that starts now starts from scratch.
        grave = Path(tempfile.mkdtemp(prefix=_DELETED, dir=run.folder.parent))
        run.folder.rename(grave / run.run_id)
    shutil.rmtree(grave, ignore_errors=True)
    log.info("deleted %s", run.folder)
    return True


def viewers_in(run: Run, viewers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of these viewers the run's arrays contain; all of them if that is unknown.

    That is so while they are being written, and when they are damaged.
    """
    if not run.extract.exists():
        unknown = run.model.exists() or (not run.is_complete(Extracted) and in_use(run))
        return viewers if unknown else viewers[:0]
    if not run.is_complete(Extracted):
        return viewers
    try:
        extracted = np.load(run.extract / "user_id.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return viewers
    found: NDArray[np.int64] = viewers[np.isin(viewers, extracted)]
    return found


def in_use(run: Run) -> bool:
    """Return whether a step works in the folder."""
    if not (run.folder / LOCK_FILE).exists():
        return False
    with _claimed(run.folder) as ours:
        return not ours


def changed_at(folder: Path) -> datetime:
    """Return when anything in the folder last changed; the beginning of time if it is gone."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        try:
            times.append(path.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return datetime.fromtimestamp(max(times), timezone.utc)


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the folder; if so, nobody can until the block ends."""
    path = folder / LOCK_FILE
    try:
        lock = path.open("a")
    except FileNotFoundError:  # the folder is gone
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield is_still(lock, path)


def _sweep(runs_dir: Path) -> None:
    """Complete interrupted deletions."""
    for grave in runs_dir.glob(f"{_DELETED}*"):
        shutil.rmtree(grave, ignore_errors=True)


_CONTENT = (
    LOCK_FILE, "extract", "model",
    *(f"{kind.__name__.lower()}.json" for kind in (Extracted, Trained, Evaluated, Published)),
)  # fmt: skip
