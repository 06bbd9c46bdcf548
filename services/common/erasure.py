"""Forgetting a viewer in ClickHouse: hidden at once, deleted from the disk, and never back.

The order matters: first the viewer is listed as erased, so that views hide and consumers skip whatever still arrives;
then the offsets are recorded as absent, so that the audit still adds up; then the rows are deleted. After a crash in
between the next `purge` completes the work. The consumer runs it regularly, which also deletes events that were in
flight during the erasure. An id stays erased for good.
"""

from clickhouse_connect.driver.client import Client

from services.contracts.ids import UserId
from services.contracts.tables import (
    ABSENT_OFFSETS,
    ERASED_USERS,
    EVENTS,
    EVENTS_QUARANTINE,
    FILES_EPOCH,
    IMPRESSIONS,
    SIGNALS,
)

ERASED = "erased"
"""The reason in ``absent_offsets``."""
_OF_KAFKA = (EVENTS, IMPRESSIONS, EVENTS_QUARANTINE)
_OF_THE_ERASED = f"user_id IN (SELECT user_id FROM {ERASED_USERS})"  # noqa: S608
_NOTED = f"SELECT epoch, partition, offset FROM {ABSENT_OFFSETS} WHERE reason = '{ERASED}'"  # noqa: S608


def erase(client: Client, *user_ids: UserId) -> int:
    """Erase viewers; return how many rows were deleted. Safe to repeat. Blocks until the rows are off the disk.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses; call it again.
    """
    client.insert(ERASED_USERS, [[user_id] for user_id in user_ids], column_names=["user_id"])
    return purge(client)


def is_erased(client: Client, user_id: UserId) -> bool:
    """Whether the viewer was erased."""
    sql = f"SELECT count() FROM {ERASED_USERS} WHERE user_id = {{user:Int64}}"  # noqa: S608
    return bool(client.query(sql, parameters={"user": user_id}).result_rows[0][0])


def purge(client: Client) -> int:
    """Delete all rows of erased viewers; return how many. Cheap when there are none."""
    deleted = 0
    for table in (*_OF_KAFKA, SIGNALS):
        found = int(client.query(f"SELECT count() FROM {table} WHERE {_OF_THE_ERASED}").result_rows[0][0])  # noqa: S608
        if not found:
            continue
        doomed = _OF_THE_ERASED
        if table in _OF_KAFKA:
            client.command(
                f"INSERT INTO {ABSENT_OFFSETS} (epoch, partition, offset, reason) "  # noqa: S608
                f"SELECT epoch, partition, offset, '{ERASED}' FROM {table} "
                f"WHERE {_OF_THE_ERASED} AND epoch != {FILES_EPOCH}"
            )
            # Only recorded offsets: a row that arrived since waits for the next purge, or the audit would
            # report it missing.
            doomed += f" AND (epoch = {FILES_EPOCH} OR (epoch, partition, offset) IN ({_NOTED}))"
        # A lightweight DELETE would leave the rows on disk until some later merge.
        client.command(f"ALTER TABLE {table} DELETE WHERE {doomed} SETTINGS mutations_sync = 1")
        deleted += found
    return deleted
