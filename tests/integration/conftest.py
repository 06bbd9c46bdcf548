"""One replica per module on real stores, and a check that a request left nothing on its topic."""

from collections.abc import Iterator

import pytest

from services.common.kafka import admin, describe_topic, end_offsets
from tests.support.inference import Replica, one_replica
from tests.support.services import KafkaServer, PostgresServer


@pytest.fixture(scope="module")
def replica(
    kafka: KafkaServer, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replica]:
    with one_replica(kafka, postgres, tmp_path_factory.mktemp("models")) as replica:
        yield replica


@pytest.fixture
def nothing_published(replica: Replica) -> Iterator[None]:
    def head() -> dict[int, int]:
        client = admin(replica.kafka)
        return end_offsets(client, describe_topic(client, replica.events_topic))

    before = head()
    yield
    assert head() == before
