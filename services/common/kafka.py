"""Kafka: topics, their identity, and the settings that every client shares."""

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

_log = logging.getLogger(__name__)
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class TopicSpec:
    """How to create a topic that does not exist."""

    name: str
    partitions: int
    retention_ms: int
    replication: int = 1


@dataclass(frozen=True)
class TopicIdentity:
    """One incarnation of a topic: a topic that was deleted and created again has another id."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]

    @property
    def epoch(self) -> int:
        """The incarnation's number in our tables: see `epoch_of`."""
        return epoch_of(self.topic_id)


def epoch_of(topic_id: str) -> int:
    """Return the first 63 bits of the topic id's SHA-256, never 0 (0 is reserved for files).

    Deterministic, so that no coordination is needed to agree on it.
    """
    return int.from_bytes(hashlib.sha256(topic_id.encode()).digest()[:8], "big") >> 1 or 1


def client_config(bootstrap_servers: str, client_id: str) -> dict[str, Any]:
    """Return the librdkafka settings that all our clients share."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "client.id": client_id,
        "socket.keepalive.enable": True,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
    }


def admin(bootstrap_servers: str) -> AdminClient:
    """Return an admin client; it connects lazily. For offsets use a new one each time.

    A client that is kept goes on asking with the leader epoch that it once saw: after a broker was away for longer than
    its session it gets FENCED_LEADER_EPOCH for every offset, for up to 15 minutes.
    """
    return AdminClient(client_config(bootstrap_servers, "movierecs-admin"))


def ensure_topics(client: AdminClient, specs: list[TopicSpec], *, timeout_seconds: float = 15) -> list[str]:
    """Create the topics that are missing; return the names of those created. Safe to call from many processes.

    Raises:
        KafkaException: the broker does not answer, or refuses one of them.
    """
    new = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=spec.replication,
            # The broker's clock stamps the records: retention and our monthly partitions must not depend
            # on clients' clocks.
            config={"retention.ms": str(spec.retention_ms), "message.timestamp.type": "LogAppendTime"},
        )
        for spec in specs
    ]
    created: list[str] = []
    there = client.list_topics(timeout=timeout_seconds).topics
    new = [topic for topic in new if topic.topic not in there]
    if not new:
        return created
    for name, future in client.create_topics(new, operation_timeout=timeout_seconds).items():
        try:
            future.result(timeout_seconds)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return created


def describe_topic(client: AdminClient, name: str, *, timeout_seconds: float = 15) -> TopicIdentity:
    """Return the topic's identity.

    Raises:
        KafkaException: there is no such topic, or the broker does not answer.
    """
    cluster = client.list_topics(timeout=timeout_seconds)  # of all topics: asking for one by name might create it
    if str(cluster.cluster_id).startswith(IN_MEMORY_CLUSTER) and name in cluster.topics:
        return _in_memory_identity(cluster, name)
    future = client.describe_topics(TopicCollection([name]), request_timeout=timeout_seconds)[name]
    description = future.result(timeout_seconds)
    return TopicIdentity(
        name=name,
        topic_id=str(description.topic_id),
        partitions=tuple(sorted(p.id for p in description.partitions)),
    )


IN_MEMORY_CLUSTER = "mockCluster"
"""The prefix of the cluster id of librdkafka's in-memory broker, which cannot describe a topic."""


def _in_memory_identity(cluster: ClusterMetadata, name: str) -> TopicIdentity:
    """The in-memory broker's topics end with it, so its cluster id and address identify a topic's incarnation."""
    brokers = ",".join(f"{broker.host}:{broker.port}" for broker in cluster.brokers.values())
    return TopicIdentity(name, f"{cluster.cluster_id}@{brokers}/{name}", tuple(sorted(cluster.topics[name].partitions)))


def end_offsets(
    client: AdminClient, topic: TopicIdentity, *, timeout_seconds: float = 15, partial: bool = False
) -> dict[int, int]:
    """Return per partition the offset up to which records can be read now; markers of transactions count.

    This is the last stable offset: the end of the log, or the beginning of the oldest open transaction. With
    ``partial``, partitions for which no broker answers are left out.

    Raises:
        KafkaException: the broker does not answer; with ``partial`` for none of the partitions.
    """
    return _offsets(client, topic, OffsetSpec.latest(), timeout_seconds, partial)  # type: ignore[no-untyped-call]


def begin_offsets(
    client: AdminClient, topic: TopicIdentity, *, timeout_seconds: float = 15, partial: bool = False
) -> dict[int, int]:
    """Return per partition the offset of the oldest record that the broker still has; ``partial`` as in `end_offsets`.

    Raises:
        KafkaException: the broker does not answer; with ``partial`` for none of the partitions.
    """
    return _offsets(client, topic, OffsetSpec.earliest(), timeout_seconds, partial)  # type: ignore[no-untyped-call]


def _offsets(
    client: AdminClient, topic: TopicIdentity, spec: OffsetSpec, timeout_seconds: float, partial: bool
) -> dict[int, int]:
    wanted = {TopicPartition(topic.name, p): spec for p in topic.partitions}
    committed = IsolationLevel.READ_COMMITTED
    futures = client.list_offsets(wanted, request_timeout=timeout_seconds, isolation_level=committed)
    found: dict[int, int] = {}
    problems: list[KafkaException] = []
    for tp, future in futures.items():
        try:
            found[tp.partition] = future.result(timeout_seconds).offset
        except KafkaException as error:
            problems.append(error)
            if partial:
                _log.warning("no offsets for %s/%d: %s", topic.name, tp.partition, error)
    if problems and not (partial and found):
        raise problems[0]
    return found


_COORDINATOR_NOT_READY = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
"""Errors of a broker that has just started."""


@dataclass(frozen=True)
class Committed:
    """A group's committed offset, and the id of the topic that it was committed for ('' if not recorded)."""

    offset: int
    topic_id: str

    def is_for(self, topic: TopicIdentity) -> bool:
        """Whether it belongs to this incarnation; a commit without an id, made by an operator, is trusted."""
        return self.topic_id in {topic.topic_id, ""}


def committed_offsets(
    client: AdminClient, group: str, topic: TopicIdentity, *, timeout_seconds: float = 15
) -> dict[int, Committed]:
    """Return the group's committed offset per partition; partitions without a commit are left out.

    Asks through a consumer that never joins the group, because librdkafka's admin client crashes with a segmentation
    fault when a broker answers that it is not the group's coordinator (librdkafka issue 5040), as starting brokers do.

    Raises:
        KafkaException: the group's coordinator does not answer, or is not ready in time.
    """
    brokers = client.list_topics(timeout=timeout_seconds).brokers.values()
    config = client_config(",".join(f"{broker.host}:{broker.port}" for broker in brokers), "movierecs-offsets")
    asking = Consumer({**config, "group.id": group, "enable.auto.commit": False}, logger=_log)
    try:
        places = _committed(asking, [TopicPartition(topic.name, p) for p in topic.partitions], timeout_seconds)
    finally:
        asking.close()
    return {tp.partition: Committed(tp.offset, tp.metadata or "") for tp in places if tp.offset >= 0}


def _committed(asking: Consumer, places: list[TopicPartition], timeout_seconds: float) -> list[TopicPartition]:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            answer = asking.committed(places, timeout=timeout_seconds)
            errors = [place.error for place in answer if place.error is not None]
        except KafkaException as error:
            answer, errors = [], [error.args[0]]
        if not errors:
            return answer
        if errors[0].code() not in _COORDINATOR_NOT_READY or time.monotonic() > deadline:
            raise KafkaException(errors[0])
        time.sleep(0.1)


def retention_ms(client: AdminClient, topic: str, *, timeout_seconds: float = 15) -> int | None:
    """Return the topic's retention, or None when it keeps its records for ever."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    config = client.describe_configs([resource], request_timeout=timeout_seconds)[resource].result(timeout_seconds)
    value = int(config["retention.ms"].value)
    return value if value >= 0 else None
