"""The model registry in PostgreSQL: all model versions, and which one is served.

At most one version is the champion. Every change of champion is one transaction that also notifies
the channel `MODEL_PROMOTED_CHANNEL` with the new champion's version as payload; PostgreSQL delivers it on commit.
Functions take a connection that is not inside a transaction, and leave it so.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from services.contracts.bundle import Manifest
from services.contracts.tables import MODEL_PROMOTED_CHANNEL, MODEL_VERSIONS


class RegistryError(Exception):
    """The request is not possible; the message names the version and the reason."""


class Stage(StrEnum):
    """A version's stage."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"
    ARCHIVED = "archived"
    """A former champion."""
    REJECTED = "rejected"


@dataclass(frozen=True)
class ModelVersion:
    """One row of the registry, without its manifest."""

    version: str
    run_id: str
    stage: Stage
    metrics: dict[str, float]
    created_at: datetime
    promoted_at: datetime | None
    """When it last became the champion."""
    reason: str | None
    """Why it has its stage."""
    pruned_at: datetime | None
    """When its bundle was released for deletion; it can never be served again."""
    replaced_by: str | None = None
    """The version that replaced it, without viewers who were erased since."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", Stage(self.stage))


_COLUMNS = sql.SQL("version, run_id, stage, metrics, created_at, promoted_at, reason, pruned_at, replaced_by")
_TABLE = sql.Identifier(MODEL_VERSIONS)


def register(connection: Connection[Any], manifest: Manifest) -> None:
    """Register a bundle as a candidate; does nothing if the version is registered.

    Raises:
        RegistryError: another version of the same run is registered.
    """
    statement = sql.SQL(
        "INSERT INTO {} (version, run_id, metrics, manifest, created_at) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING"
    ).format(_TABLE)
    with connection.transaction():
        connection.execute(statement, _row(manifest))
        registered = _select(connection, "WHERE run_id = %s AND replaced_by IS NULL", manifest.run_id)
        if [found.version for found in registered] != [manifest.version]:
            raise RegistryError(f"{manifest.version}: run {manifest.run_id} already made {registered[0].version}")


def champion(connection: Connection[Any]) -> ModelVersion | None:
    """Return the version to serve, or None before the first promotion."""
    with connection.transaction():
        return next(iter(_select(connection, "WHERE stage = %s", Stage.CHAMPION)), None)


def version_of_run(connection: Connection[Any], run_id: str) -> ModelVersion | None:
    """Return the version that a run published, or its replacement; None if there is none."""
    with connection.transaction():
        return next(iter(_select(connection, "WHERE run_id = %s AND replaced_by IS NULL", run_id)), None)


def version_named(connection: Connection[Any], version: str) -> ModelVersion | None:
    """Return the version of that name, if the registry knows it."""
    with connection.transaction():
        return next(iter(_select(connection, "WHERE version = %s", version)), None)


def versions(connection: Connection[Any], limit: int = 50) -> list[ModelVersion]:
    """Return the newest versions, latest first."""
    with connection.transaction():
        return _select(connection, "ORDER BY created_at DESC, version DESC LIMIT %s", limit)


def kept(connection: Connection[Any]) -> list[ModelVersion]:
    """Return every version whose bundle is not released for deletion, latest first."""
    with connection.transaction():
        return _select(connection, "WHERE pruned_at IS NULL ORDER BY created_at DESC, version DESC")


def manifest_of(connection: Connection[Any], version: str) -> Manifest:
    """Return the manifest as it was registered, without its metrics.

    Raises:
        RegistryError: there is no such version.
    """
    with connection.transaction():
        query = sql.SQL("SELECT manifest FROM {} WHERE version = %s").format(_TABLE)
        found = connection.execute(query, (version,)).fetchone()
    if found is None:
        raise RegistryError(f"{version}: no such version")
    return Manifest.model_validate(found[0])


def promote(connection: Connection[Any], version: str, reason: str) -> ModelVersion:
    """Make a version the champion, archive the one before, and notify, all in one transaction.

    Promoting the champion again changes nothing but notifies again. Two promotions at once happen
    one after the other: the later one wins, and archives the earlier.

    Raises:
        RegistryError: there is no such version, or it is pruned.
    """
    with connection.transaction():
        _lock(connection)
        return _promote(connection, version, reason)


def rollback(connection: Connection[Any], to: str | None, reason: str) -> ModelVersion:
    """Make a former champion the champion again: ``to``, or else the one archived last.

    Versions that were themselves rolled back are skipped, so that rolling back twice goes back two steps. For a
    replaced version, its replacement is used.

    Raises:
        RegistryError: ``to`` is unknown, was never the champion or is pruned, or there is no earlier champion.
    """
    with connection.transaction():
        _lock(connection)
        if to is None:
            earlier = _earlier_champion(connection)
            if earlier is None:
                raise RegistryError("there is no earlier champion to roll back to")
            target = earlier.version
        else:
            found = _select(connection, "WHERE version = %s", to)
            while found and found[0].replaced_by is not None:
                found = _select(connection, "WHERE version = %s", found[0].replaced_by)
            if not found or found[0].stage not in (Stage.ARCHIVED, Stage.CHAMPION):
                raise RegistryError(f"{to}: not an earlier champion ({found[0].stage if found else 'unknown'})")
            if found[0].pruned_at is not None:
                raise RegistryError(f"{to}: its bundle was deleted")
            target = found[0].version
        return _promote(connection, target, reason, archived_because=_ROLLED_BACK)


def reject(connection: Connection[Any], version: str, reason: str) -> None:
    """Mark a candidate as rejected, with the reason.

    Raises:
        RegistryError: the version is not a candidate.
    """
    statement = sql.SQL("UPDATE {} SET stage = %s, reason = %s WHERE version = %s AND stage IN (%s, %s)").format(_TABLE)
    with connection.transaction():
        values = (Stage.REJECTED, reason, version, Stage.CANDIDATE, Stage.REJECTED)
        if connection.execute(statement, values).rowcount == 0:
            raise RegistryError(f"{version}: not a candidate")


def prune(connection: Connection[Any], keep: int) -> list[str]:
    """Release old bundles for deletion; return all versions released so far.

    Keeps the newest ``keep`` (at least 1) archived and as many rejected versions, the champion, all candidates and the
    version that a rollback would go to. Once this returns, none of the versions returned can be promoted or rolled back
    to.
    """
    statement = sql.SQL(
        "UPDATE {} SET pruned_at = now() WHERE version IN (SELECT version FROM ("
        " SELECT version,"
        " row_number() OVER (PARTITION BY stage ORDER BY coalesce(promoted_at, created_at) DESC, version DESC) AS place"
        " FROM {} WHERE stage IN (%s, %s) AND pruned_at IS NULL) AS ranked WHERE place > %s)"
        " AND version IS DISTINCT FROM %s"
    ).format(_TABLE, _TABLE)
    with connection.transaction():
        _lock(connection)
        earlier = _earlier_champion(connection)
        spared = None if earlier is None else earlier.version
        connection.execute(statement, (Stage.ARCHIVED, Stage.REJECTED, keep, spared))
        return [row.version for row in _select(connection, "WHERE pruned_at IS NOT NULL ORDER BY version")]


def replace(connection: Connection[Any], version: str, manifest: Manifest) -> ModelVersion:
    """Replace a version with a copy that has no erased viewers, whatever its stage; return the copy's row.

    One transaction: the copy takes over run, stage, reason and time of promotion; the old version is released for
    deletion. If it is the champion, every replica is notified. Safe to repeat.

    Raises:
        RegistryError: there is no such version, or its bundle is already released for deletion.
    """
    given_up = sql.SQL(
        "UPDATE {} SET replaced_by = %s, pruned_at = now(), reason = %s,"
        " stage = CASE stage WHEN 'champion' THEN 'archived' WHEN 'candidate' THEN 'rejected' ELSE stage END"
        " WHERE version = %s"
    ).format(_TABLE)
    insert = sql.SQL(
        "INSERT INTO {} (version, run_id, metrics, manifest, created_at, stage, promoted_at, reason)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    ).format(_TABLE)
    with connection.transaction():
        _lock(connection)
        found = next(iter(_select(connection, "WHERE version = %s", version)), None)
        if found is None:
            raise RegistryError(f"{version}: no such version")
        if found.replaced_by != manifest.version:
            if found.pruned_at is not None:
                raise RegistryError(f"{version}: its bundle is already released for deletion")
            connection.execute(given_up, (manifest.version, f"replaced by {manifest.version}", version))
            connection.execute(insert, (*_row(manifest), found.stage, found.promoted_at, found.reason))
            if found.stage is Stage.CHAMPION:
                connection.execute("SELECT pg_notify(%s, %s)", (MODEL_PROMOTED_CHANNEL, manifest.version))
        return _select(connection, "WHERE version = %s", manifest.version)[0]


def release_for_deletion(connection: Connection[Any], version: str, reason: str) -> bool:
    """Release an archived or rejected version for deletion; return False for any that may be served."""
    statement = sql.SQL(
        "UPDATE {} SET pruned_at = coalesce(pruned_at, now()), reason = %s WHERE version = %s AND stage IN (%s, %s)"
    ).format(_TABLE)
    with connection.transaction():
        _lock(connection)
        return connection.execute(statement, (reason, version, Stage.ARCHIVED, Stage.REJECTED)).rowcount > 0


def forget_canaries(connection: Connection[Any], viewers: Collection[int]) -> None:
    """Remove these viewers' canary lists from every registered manifest, of whichever format."""
    theirs = "$.**.canaries[*] ? (@.user_id == $viewers[*])"
    select = sql.SQL("SELECT version, manifest FROM {} WHERE jsonb_path_exists(manifest, %s, %s) FOR UPDATE")
    update = sql.SQL("UPDATE {} SET manifest = %s WHERE version = %s").format(_TABLE)
    with connection.transaction():
        rows = connection.execute(select.format(_TABLE), (theirs, Jsonb({"viewers": sorted(viewers)}))).fetchall()
        for version, manifest in rows:
            for holder in (manifest, *manifest.get("models", {}).values()):  # format 1 has them at the top
                if "canaries" in holder:
                    holder["canaries"] = [c for c in holder["canaries"] if c["user_id"] not in viewers]
            connection.execute(update, (Jsonb(manifest), version))


_ROLLED_BACK = "rolled back"


def _row(manifest: Manifest) -> tuple[object, ...]:
    content = manifest.model_dump(mode="json", exclude={"metrics"})
    return manifest.version, manifest.run_id, Jsonb(manifest.metrics), Jsonb(content), manifest.created_at


def _earlier_champion(connection: Connection[Any]) -> ModelVersion | None:
    return next(
        iter(
            _select(
                connection,
                "WHERE stage = %s AND reason IS DISTINCT FROM %s AND pruned_at IS NULL"
                " ORDER BY promoted_at DESC LIMIT 1",
                Stage.ARCHIVED,
                _ROLLED_BACK,
            )
        ),
        None,
    )


def _promote(
    connection: Connection[Any], version: str, reason: str, archived_because: str = "replaced"
) -> ModelVersion:
    archive = sql.SQL("UPDATE {} SET stage = %s, reason = %s WHERE stage = %s AND version <> %s").format(_TABLE)
    connection.execute(archive, (Stage.ARCHIVED, archived_because, Stage.CHAMPION, version))
    # clock_timestamp: of two promotions the later one has the later time, whenever its transaction began.
    make_champion = sql.SQL(
        "UPDATE {} SET stage = %s, reason = %s,"
        " promoted_at = CASE WHEN stage = %s THEN promoted_at ELSE clock_timestamp() END"
        " WHERE version = %s AND pruned_at IS NULL"
    ).format(_TABLE)
    if connection.execute(make_champion, (Stage.CHAMPION, reason, Stage.CHAMPION, version)).rowcount == 0:
        raise RegistryError(f"{version}: no such version, or its bundle was deleted")
    connection.execute("SELECT pg_notify(%s, %s)", (MODEL_PROMOTED_CHANNEL, version))
    return _select(connection, "WHERE version = %s", version)[0]


def _lock(connection: Connection[Any]) -> None:
    # Readers are not blocked; another change of champion waits.
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(_TABLE))


def _select(connection: Connection[Any], condition: str, *values: object) -> list[ModelVersion]:
    query = sql.SQL("SELECT {} FROM {} ").format(_COLUMNS, _TABLE) + sql.SQL(condition)
    with connection.cursor(row_factory=class_row(ModelVersion)) as cursor:
        return cursor.execute(query, values).fetchall()
