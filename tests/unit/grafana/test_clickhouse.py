"""Every query of ClickHouse runs on ClickHouse with the real tables, and finds what was put there."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts import tables
from services.contracts.ids import PROBE_USER
from services.contracts.topics import EVENTS_TOPIC
from tests.support.grafana_sql import expanded
from tests.support.services import ClickHouseServer
from tests.unit.grafana.committed import targets

QUERIES = {target.panel: target.expression for target in targets("grafana-clickhouse-datasource")}
NOON = datetime(2026, 1, 5, 12, 0, 30, tzinfo=timezone.utc)
MINUTE = NOON.replace(second=0)
REQUEST = "00000000-0000-0000-0000-00000000000a"
OF_THE_PROBE = "00000000-0000-0000-0000-00000000000b"


@pytest.fixture(scope="module")
def client(clickhouse: ClickHouseServer) -> Iterator[Client]:
    """A database with a list of three films, the second of which was liked; the same of the probe; a broken record."""
    name = clickhouse.create_database()
    client = clickhouse_connect.get_client(dsn=clickhouse.url(name))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    for offset, (user, request) in enumerate(((1, REQUEST), (PROBE_USER, OF_THE_PROBE))):
        put(client, tables.IMPRESSIONS, epoch=8, partition=0, offset=offset, record_time=NOON, request_id=request,
            user_id=user, item_ids=[10, 20, 30], strategy="personal", variant="default", model_version="m1",
            served_at=NOON, schema_version=1)  # fmt: skip
        put(client, tables.EVENTS, epoch=7, partition=0, offset=offset, record_time=NOON, event_id=request,
            user_id=user, item_id=20, action="like", event_time=NOON, request_id=request, source="web",
            schema_version=1)  # fmt: skip
    put(client, tables.EVENTS_QUARANTINE, epoch=7, partition=0, offset=2, topic=EVENTS_TOPIC, record_time=NOON, key="k",
        value="{", reason="not_json", detail="broken", decoder_version=1)  # fmt: skip
    for missing, hours_ago in ((1, 2), (0, 1)):
        ended = datetime.now(timezone.utc) - timedelta(hours=hours_ago)
        put(client, tables.AUDIT_LEDGER, audited_at=ended, topic=EVENTS_TOPIC, epoch=7, partition=0, scope="full",
            from_offset=0, committed=3, missing=missing)  # fmt: skip
    yield client
    client.close()
    clickhouse.drop_database(name)


def put(client: Client, table: str, **row: Any) -> None:
    client.insert(table, [list(row.values())], column_names=list(row))


def ask(client: Client, panel: str, begin: str = "'2026-01-05 00:00:00'") -> list[dict[str, Any]]:
    result = client.query(expanded(QUERIES[panel], begin, "'2026-01-06 00:00:00'"))
    return list(result.named_results())


def test_stored_and_set_aside_records_are_counted_apart_per_interval(client: Client) -> None:
    found = ask(client, "What does ClickHouse hold, by Kafka's time?")
    assert sorted((row["holds"], row["records"]) for row in found) == [("set aside", 1), ("stored", 2)]
    assert {row["time"].replace(tzinfo=timezone.utc) for row in found} == {MINUTE}


def test_a_partitions_last_audit_is_shown_and_not_the_one_before(client: Client) -> None:
    (row,) = ask(client, "What did each partition's last audit find?")
    assert (row["topic"], row["partition"], row["scope"]) == (EVENTS_TOPIC, 0, "full")
    assert (row["from_offset"], row["committed"], row["checked"], row["missing"]) == (0, 3, 3, 0)


def test_a_record_that_was_set_aside_is_shown_without_its_content(client: Client) -> None:
    (row,) = ask(client, "The latest quarantined records")
    assert (row["topic"], row["offset"], row["reason"], row["replayed"]) == (EVENTS_TOPIC, 2, "not_json", 0)
    assert not {"value", "key", "user_id"} & set(row)


def test_likes_are_counted_by_the_films_place_without_the_probes(client: Client) -> None:
    assert ask(client, "At which place of a list are films liked?") == [{"place": 2, "likes": 1, "lists": 1}]


def test_stored_lists_are_counted_by_strategy_without_the_probes(client: Client) -> None:
    (row,) = ask(client, "How many stored lists did each strategy make?")
    assert (row["time"].replace(tzinfo=timezone.utc), row["strategy"], row["lists"]) == (MINUTE, "personal", 1)


def test_the_latest_lists_name_their_request_and_no_viewer(client: Client) -> None:
    (row,) = ask(client, "The latest lists")
    assert (row["request"], row["model_version"], row["films"]) == (REQUEST, "m1", 3)
    assert "user_id" not in row


@pytest.mark.parametrize("panel", [panel for panel, sql in QUERIES.items() if "$__timeFilter" in sql])
def test_the_time_that_is_chosen_counts(client: Client, panel: str) -> None:
    assert ask(client, panel, begin="'2026-01-05 13:00:00'") == []


def test_every_query_is_tested_here() -> None:
    assert len(QUERIES) == 6
