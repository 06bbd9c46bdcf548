"""A viewer's stored data: export and erasure."""

import logging
from contextlib import closing
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, SecretStr

from services.common import clickhouse, erased
from services.common.erasure import erase as erase_stored
from services.contracts import tables
from services.contracts.events import Event
from services.contracts.ids import UserId
from services.contracts.rest import Erased, ServedList, UserExport
from services.inference.history.live import LiveHistory
from services.inference.local_state import LocalState
from services.inference.privacy.remaining_data import NOT_OURS, RemainingData
from services.inference.recommend.service import Recommendations

_CLICKHOUSE_SECONDS = 20
"""Time limit; a longer deletion continues in ClickHouse, and the caller is told to call again."""
log = logging.getLogger(__name__)
_FILE = "erased_viewers"


class _Kept(BaseModel):
    """The ids of erased viewers, kept on disk for the replica's next start."""

    user_ids: list[int]


class Erasure:
    """Erases and exports over PostgreSQL and ClickHouse. Blocks."""

    def __init__(
        self,
        pool: ConnectionPool[Any],
        clickhouse_url: SecretStr,
        *,
        live: LiveHistory,
        recommendations: Recommendations,
        remaining: RemainingData,
        state: LocalState,
    ) -> None:
        self._pool = pool
        self._clickhouse_url = clickhouse_url
        self._live = live
        self._recommendations = recommendations
        self._remaining = remaining
        self._state = state
        self._kept: frozenset[UserId] | None = None

    def read_erased(self) -> None:
        """Load the viewers erased by any replica.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        with self._pool.connection() as connection:
            viewers = erased.erased_viewers(connection)
        self._forget(viewers)

    def read_kept(self) -> None:
        """Load the erased viewers while PostgreSQL is down: those kept on disk, and ClickHouse's list.

        Nobody is erased while PostgreSQL is down, so ClickHouse's list, if it answers, is nearly always complete.
        """
        kept = self._state.read(_FILE, _Kept)
        known = set() if kept is None else set(kept.user_ids)
        try:
            client = clickhouse.connect(
                self._clickhouse_url, send_receive_timeout=3, connect_timeout=2, query_retries=0
            )
            known.update(int(row[0]) for row in client.query(f"SELECT user_id FROM {tables.ERASED_USERS}").result_rows)  # noqa: S608
        except (ClickHouseError, OSError):
            log.warning("erased viewers cannot be read from PostgreSQL or ClickHouse; using those kept on disk")
        self._forget(frozenset(map(UserId, known)))

    def erase(self, user_id: UserId) -> Erased:
        """Erase a viewer. Idempotent; a repeated call completes what an earlier one could not.

        The order matters: every replica and the consumer learn that the id is erased before rows are deleted, so that
        nothing can come back in between.

        Raises:
            psycopg.Error, clickhouse_connect's errors: a store does not answer; call again.
        """
        with self._pool.connection() as connection:
            erased.note(connection, user_id)
        self._forget(frozenset({user_id}))
        with closing(self._connect()) as client:
            erase_stored(client, user_id)
        answer = self.erasure_of(user_id)
        assert answer is not None, "just recorded"
        return answer

    def erasure_of(self, user_id: UserId) -> Erased | None:
        """Return the state of a viewer's erasure, None if it was never requested.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        with self._pool.connection() as connection:
            erasure = erased.erasure_of(connection, user_id)
            pending = erased.pending(connection)
        if erasure is None:
            return None
        return Erased(
            user_id=user_id,
            erased_at=erasure.erased_at,
            forgotten_at=erasure.forgotten_at,
            pending_bundles=self._remaining.bundles(user_id),
            pending_viewers=pending.viewers,
            kafka=self._remaining.kafka(erasure.erased_at),
            not_ours=NOT_OURS,
        )

    def export(self, user_id: UserId) -> UserExport:
        """Return everything that the stores keep about a viewer, in the order in which it happened.

        Raises:
            psycopg.Error, clickhouse_connect's errors: a store does not answer.
        """
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            demographics = cursor.execute(
                f"SELECT * FROM {tables.USERS} WHERE user_id = %s",  # noqa: S608
                (user_id,),
            ).fetchone()
        with closing(self._connect()) as client:
            return self._export(client, user_id, demographics)

    def _export(self, client: Client, user_id: UserId, demographics: dict[str, Any] | None) -> UserExport:
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

    def _forget(self, user_ids: frozenset[UserId]) -> None:
        self._live.erase(user_ids)
        self._recommendations.forget(user_ids)
        if self._live.erased != self._kept:
            # Ids stay erased for good, so what another replica on this machine kept is valid too.
            kept = self._state.read(_FILE, _Kept)
            known = self._live.erased.union([] if kept is None else map(UserId, kept.user_ids))
            self._state.write(_FILE, _Kept(user_ids=sorted(known)))
            self._kept = self._live.erased

    def _connect(self) -> Client:
        return clickhouse.connect(
            self._clickhouse_url,
            query_retries=0,
            send_receive_timeout=_CLICKHOUSE_SECONDS,
            client_name="movierecs-erasure",
        )


def _rows(client: Client, view: str, user_id: UserId, columns: list[str], order: str) -> list[dict[str, Any]]:
    result = client.query(
        f"SELECT {', '.join(columns)} FROM {view} WHERE user_id = {{user:Int64}} ORDER BY {order}",  # noqa: S608
        parameters={"user": user_id},
        tz_mode="aware",
    )
    return list(result.named_results())
