"""The API against its own description, with all stores: every answer is one that is described, none is a 500."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common.clickhouse import connect
from services.common.kafka import admin, describe_topic
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from tests.support.bundles import make_bundle
from tests.support.fuzz import ERASING, fuzz
from tests.support.inference import Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer


@pytest.fixture
def replica(
    kafka: KafkaServer, postgres_database: str, clickhouse_database: str, topic: Callable[..., str], tmp_path: Path
) -> Iterator[Replica]:
    prepare_catalogue(postgres_database)
    migrate_clickhouse(connect(SecretStr(clickhouse_database)), read_migrations(CLICKHOUSE_MIGRATIONS))
    events, impressions = topic(partitions=1), topic(partitions=1)
    identity = describe_topic(admin(kafka.bootstrap), events)
    folder = tmp_path / "models"
    crown(postgres_database, make_bundle(folder, topic_id=identity.topic_id, offsets={0: 0}).manifest)
    replica = Replica(kafka.bootstrap, postgres_database, clickhouse_database, folder, events, impressions).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        yield replica
    finally:
        replica.stop()


def test_every_answer_is_one_that_is_described(replica: Replica, tmp_path: Path) -> None:
    url = str(replica.client.base_url).rstrip("/")
    asked, erased = fuzz(url, tmp_path, examples=20), fuzz(url, tmp_path, examples=20, only=ERASING)
    assert asked.passed, asked.output
    assert erased.passed, erased.output
    assert asked.cases + erased.cases > 500


@pytest.mark.slow
def test_so_is_every_one_of_ten_thousand(replica: Replica, tmp_path: Path) -> None:
    url = str(replica.client.base_url).rstrip("/")
    asked = fuzz(url, tmp_path, examples=700, seed=2, deadline_seconds=1_500)
    erased = fuzz(url, tmp_path, examples=200, only=ERASING, seed=2, deadline_seconds=300)
    assert asked.passed, asked.output
    assert erased.passed, erased.output
    assert asked.cases + erased.cases >= 10_000
