"""Everything that is kept about one viewer: shown to them, or deleted for ever."""

from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from services.common import clickhouse
from services.common.erasure import erase as erase_stored
from services.contracts import tables
from services.contracts.events import Event
from services.contracts.ids import UserId
from services.contracts.rest import Erased, ServedList, UserExport
from services.inference.live_history import LiveHistory
from services.inference.serving import Serving


class Erasure:
    """Erases and exports over PostgreSQL and ClickHouse. Blocks."""

    def __init__(
        self, pool: ConnectionPool[Any], clickhouse_url: SecretStr, live: LiveHistory, serving: Serving
    ) -> None:
        self._pool = pool
        self._clickhouse_url = clickhouse_url
        self._live = live
        self._serving = serving

    def read_erased(self) -> None:
        """Take over which viewers were erased, by any replica.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        with self._pool.connection() as connection:
            rows = connection.execute(f"SELECT user_id FROM {tables.ERASED_USERS}").fetchall()  # noqa: S608
        self._forget(frozenset(UserId(row[0]) for row in rows))

    def erase(self, user_id: UserId) -> Erased:
        """Erase a viewer; again it changes nothing, and finishes what an earlier call could not.

        The order is the promise: first every replica and the consumer are told that the id is erased,
        only then are rows deleted, so that nothing can come back in between.

        Raises:
            psycopg.Error, clickhouse_connect's errors: a store does not answer; call again.
        """
        erased_at = self._note(user_id)
        self._forget(frozenset({user_id}))
        erase_stored(self._connect(), user_id)
        return Erased(user_id=user_id, erased_at=erased_at)

    def export(self, user_id: UserId) -> UserExport:
        """Return everything that the stores keep about a viewer, in the order in which it happened.

        Raises:
            psycopg.Error, clickhouse_connect's errors: a store does not answer.
        """
        client = self._connect()
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            demographics = cursor.execute(
                f"SELECT * FROM {tables.USERS} WHERE user_id = %s",  # noqa: S608
                (user_id,),
            ).fetchone()
        rows = _rows(
            client, tables.EVENTS_VIEW, user_id,
            ["event_id", "user_id", "item_id", "action", "value", "event_time", "request_id", "source"], "event_time",
        )  # fmt: skip
        lists = _rows(
            client, tables.IMPRESSIONS_VIEW, user_id,
            ["request_id", "served_at", "strategy", "model_version", "item_ids"], "served_at",
        )  # fmt: skip
        quarantined = _rows(client, tables.QUARANTINE_VIEW, user_id, ["value"], "record_time")
        return UserExport(
            user_id=user_id,
            demographics=demographics,
            events=[Event.model_validate(row) for row in rows],
            impressions=[ServedList.model_validate(row) for row in lists],
            quarantined=[str(row["value"]) for row in quarantined],
        )

    def _note(self, user_id: UserId) -> datetime:
        with self._pool.connection() as connection, connection.transaction():
            row = connection.execute(
                f"INSERT INTO {tables.ERASED_USERS} (user_id) VALUES (%s)"  # noqa: S608
                " ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING erased_at",
                (user_id,),
            ).fetchone()
            connection.execute(f"DELETE FROM {tables.USERS} WHERE user_id = %s", (user_id,))  # noqa: S608
            connection.execute("SELECT pg_notify(%s, %s)", (tables.USER_ERASED_CHANNEL, str(user_id)))
        assert row is not None, "RETURNING gives the row"
        erased_at: datetime = row[0]
        return erased_at

    def _forget(self, user_ids: frozenset[UserId]) -> None:
        self._live.erase(user_ids)
        self._serving.forget(user_ids)

    def _connect(self) -> Client:
        return clickhouse.connect(self._clickhouse_url, query_retries=0, client_name="movierecs-erasure")


def _rows(client: Client, view: str, user_id: UserId, columns: list[str], order: str) -> list[dict[str, Any]]:
    result = client.query(
        f"SELECT {', '.join(columns)} FROM {view} WHERE user_id = {{user:Int64}} ORDER BY {order}",  # noqa: S608
        parameters={"user": user_id},
        tz_mode="aware",
    )
    return list(result.named_results())
