"""What is looked after beside the ingestion, on a thread of its own: topic identity, retention, audit, erasure."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.common import audit, erasure
from services.common.kafka import TopicIdentity, describe_topic
from services.common.positions import positions
from services.consumer.errors import StopError
from services.consumer.ingestion import Ingestion
from services.consumer.membership import raise_if_recreated
from services.consumer.metrics import Metrics
from services.consumer.start import GapError, overtaken

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
CONFIRM_SECONDS = 1.0
FULL_AUDIT_PAUSE = 40
"""A topic's full audit is followed by a pause of at least this many times what it took: 5 % of the time for two."""


class Watch:
    """Watches the partitions that an ingestion owns. Errors of the stores are logged, and the next turn tries again."""

    def __init__(
        self,
        make_admin: Callable[[], AdminClient],
        connect: Callable[[], Client],
        group: str,
        metrics: Metrics,
        *,
        audit_seconds: float,
        full_seconds: float,
    ) -> None:
        self._make_admin = make_admin
        self._connect = connect
        self._client: Client | None = None
        self._group = group
        self._metrics = metrics
        self._audit_seconds = audit_seconds
        self._full_seconds = full_seconds
        self._next_tail: dict[TopicIdentity, float] = {}
        self._next_full: dict[TopicIdentity, float] = {}
        self._verified: dict[tuple[int, int], int] = {}

    def start(self, ingestion: Ingestion) -> Callable[[], None]:
        """Watch ``ingestion`` from a daemon thread; return what ends that."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(WATCH_SECONDS):
                try:
                    self.look(ingestion)
                except StopError as error:
                    ingestion.fail(error)
                    return
                except Exception as error:
                    log.warning("could not look after the partitions, will try again: %r", error)
                    self._client = None

        threading.Thread(target=run, name="watch", daemon=True).start()
        return ended.set

    def look(self, ingestion: Ingestion) -> None:
        """Look once.

        Raises:
            GapError: retention has overtaken us.
            RestartError: a topic was recreated.
            Exception: of Kafka's or ClickHouse's client.
        """
        by_topic: dict[TopicIdentity, list[int]] = {}
        owned = ingestion.owned()
        self._metrics.keep_only(owned)
        for (_, partition), ours in owned.items():
            by_topic.setdefault(ours.topic, []).append(partition)
        admin = self._make_admin()
        committed = {}
        problems: list[Exception] = []
        for topic, partitions in by_topic.items():
            try:
                raise_if_recreated(topic, describe_topic(admin, topic.name))
                committed[topic] = self._committed(admin, topic, partitions)
            except KafkaException as error:  # one topic that cannot be seen hides no other
                problems.append(error)
        self._audit_what_is_due(committed)  # after the check of every topic, which needs no ClickHouse
        if problems:
            raise problems[0]

    def _committed(self, admin: AdminClient, topic: TopicIdentity, partitions: list[int]) -> dict[int, int]:
        """Return what is committed of this incarnation.

        Raises:
            GapError: retention has overtaken us.
        """
        places = positions(admin, self._group, topic)
        committed = {p: c for p in partitions if p in places and (c := places[p].committed) is not None}
        for p, offset in committed.items():
            if places[p].is_overtaken:
                raise GapError(overtaken(f"{topic.name}/{p}", offset, places[p].begin))
        return committed

    def _audit_what_is_due(self, committed: dict[TopicIdentity, dict[int, int]]) -> None:
        now = time.monotonic()
        full = {topic for topic in committed if now >= self._next_full.get(topic, now)}
        due = full | {topic for topic in committed if now >= self._next_tail.get(topic, now)}
        if not due:
            return
        if self._client is None:
            self._client = self._connect()
        if full and (deleted := erasure.purge(self._client)):
            log.info("deleted rows of erased viewers that were under way", extra={"rows": deleted})
        for topic in due:
            self._audit(self._client, topic, committed[topic], full=topic in full)
            self._next_tail[topic] = now + self._audit_seconds
            if topic in full:
                took = time.monotonic() - now  # with the purge, and the audits before
                self._next_full[topic] = now + max(self._full_seconds, FULL_AUDIT_PAUSE * took)

    def _audit(self, client: Client, topic: TopicIdentity, committed: dict[int, int], *, full: bool) -> None:
        first = audit.first_offsets(client, topic)
        if not full:
            first |= {p: self._verified[topic.epoch, p] for p in committed if (topic.epoch, p) in self._verified}
        findings = audit.audit(client, topic.epoch, committed, first)
        if any(f.missing for f in findings):
            # An erasure moves offsets from table to table; between two reads one may be in neither. Ask twice.
            time.sleep(CONFIRM_SECONDS)
            findings = audit.audit(client, topic.epoch, committed, first)
        scope = "full" if full else "tail"
        now = datetime.now(timezone.utc)
        audit.note_findings(client, topic.name, topic.epoch, scope=scope, findings=findings, now=now)
        for f in findings:
            if f.missing:
                log.error(
                    "AUDIT: %d offsets of [%d, %d) of %s/%d are committed but not stored",
                    f.missing, f.first, f.committed, topic.name, f.partition,
                )  # fmt: skip
            else:
                self._verified[topic.epoch, f.partition] = f.committed
            if full or f.missing:
                # What a full audit found stays until a full audit finds it gone.
                self._metrics.audit_missing.labels(topic.name, str(f.partition)).set(f.missing)
        self._metrics.audit_last.labels(topic.name).set(time.time())
