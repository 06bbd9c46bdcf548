"""Deletes bundles that will not be served again. The registry decides which."""

import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from psycopg import Connection

from services.common import registry

STALE = timedelta(days=1)
"""Longer than writing a bundle takes: an older hidden folder was left by a crash."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pruned:
    """What was deleted: versions, and folders of bundles that were never completed."""

    versions: list[str]
    unfinished: list[str]


def prune(model_dir: Path, connection: Connection[Any], keep: int, now: datetime) -> Pruned:
    """Delete the bundles that `registry.prune` releases, and leftovers of crashed writers. Idempotent.

    The registry is changed first: a crash leaves folders for the next time, never a version without its
    bundle. Folders that the registry does not know are left alone. A replica that has such a bundle
    mapped goes on with it.
    """
    given_up = [version for version in registry.prune(connection, keep) if (model_dir / version).is_dir()]
    hidden = [path for path in model_dir.glob(".*") if path.is_dir()] if model_dir.is_dir() else []
    unfinished = [path.name for path in hidden if now - _changed(path) > STALE]
    for name in (*given_up, *unfinished):
        shutil.rmtree(model_dir / name, ignore_errors=True)  # two may prune at once
        if (model_dir / name).exists():
            log.error("%s could not be deleted", model_dir / name)
            continue
        log.info("deleted %s", model_dir / name)
    return Pruned(sorted(given_up), sorted(unfinished))


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
