"""`set-aside`: quarantines the bad records after the breaker has stopped the consumer.

It finds the stretch of bad records after each partition's committed offset and consumes to its end with a breaker that
ignores it, until it is quarantined and committed. Bad records after it trip the consumer's breaker as before.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from services.common.kafka import TopicIdentity, client_config, describe_topic, end_offsets
from services.common.metrics_server import Heartbeat
from services.common.positions import positions
from services.consumer.decode import Stream
from services.consumer.membership import Place
from services.consumer.metrics import Metrics
from services.consumer.record import Record, record_of
from services.consumer.service import Service
from services.consumer.settings import ConsumerSettings

log = logging.getLogger(__name__)
READ_AT_ONCE = 500
READ_SECONDS = 15.0
LOOK_SECONDS = 0.5


@dataclass
class _Search:
    """The first stretch of bad records behind ``position``: it ends before ``apart`` good ones in a row."""

    position: int
    end: int
    within: int
    """If none of this many records is bad, there is no stretch here."""
    apart: int
    first_bad: int | None = None
    last_bad: int = -1
    good: int = 0
    """In a row."""

    def see(self, offset: int, *, is_bad: bool) -> None:
        self.position = offset + 1
        if is_bad:
            self.first_bad = offset if self.first_bad is None else self.first_bad
            self.last_bad, self.good = offset, 0
        else:
            self.good += 1

    @property
    def is_over(self) -> bool:
        enough = self.within if self.first_bad is None else self.apart
        return self.position >= self.end or self.good >= enough

    @property
    def stretch(self) -> range | None:
        return None if self.first_bad is None else range(self.first_bad, self.last_bad + 1)


def find(
    admin: AdminClient, brokers: str, group: str, streams: Sequence[Stream], *, within: int, apart: int
) -> dict[Place, range]:
    """Return per partition the first stretch of records behind the committed offset that do not decode.

    A stretch begins ``within`` so many records and ends before ``apart`` good ones in a row, or where the log ends now.

    Raises:
        KafkaException: the broker does not answer, or records cannot be read.
    """
    found: dict[Place, range] = {}
    for stream in streams:
        topic = describe_topic(admin, stream.topic)
        ends = end_offsets(admin, topic)
        searches = {
            p: _Search(max(at.stored_to, at.begin), ends[p], within, apart)
            for p, at in positions(admin, group, topic).items()
        }
        _search(brokers, stream, topic, searches)
        found |= {(topic.name, p): s.stretch for p, s in searches.items() if s.stretch is not None}
    return found


def _search(brokers: str, stream: Stream, topic: TopicIdentity, searches: Mapping[int, _Search]) -> None:
    config = client_config(brokers, "movierecs-set-aside") | {
        "group.id": "movierecs-set-aside",  # required by the client; it joins no group
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
    }
    reader = Consumer(config, logger=log)
    try:
        left = {p: search for p, search in searches.items() if not search.is_over}
        reader.assign([TopicPartition(topic.name, p, search.position) for p, search in left.items()])
        while left:
            messages = reader.consume(READ_AT_ONCE, READ_SECONDS)
            if not messages:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic.name}: records could not be read"))
            for message in messages:
                partition, error = message.partition(), message.error()
                if partition is None or partition not in left:
                    continue
                if error is not None:  # its end, as far as transactions are committed
                    del left[partition]
                    continue
                record = record_of(message)
                left[partition].see(record.offset, is_bad=_is_bad(stream, record, topic.epoch))
                if left[partition].is_over:
                    del left[partition]
    finally:
        reader.close()


def _is_bad(stream: Stream, record: Record, epoch: int) -> bool:
    try:
        stream.decode(record, epoch)
    except Exception:  # as a block sees it
        return True
    return False


def set_aside(settings: ConsumerSettings, admin: AdminClient, *, dry_run: bool) -> bool:
    """Find the stretches; unless ``dry_run`` consume until they are in quarantine. Return False if told to stop first.

    Raises:
        BreakerOpenError: ClickHouse refuses what does decode.
        KafkaException: the broker does not answer.
    """
    stretches = find(
        admin,
        settings.kafka_bootstrap_servers,
        settings.consumer_group,
        settings.streams,
        within=settings.consumer_block_rows,
        apart=settings.consumer_breaker_at_least,
    )
    for (topic, partition), stretch in sorted(stretches.items()):
        log.warning("bad records in %s/%d from offset %d to %d", topic, partition, stretch[0], stretch[-1])
    if not stretches:
        log.info("no partition has bad records after its committed offset")
    if dry_run or not stretches:
        return True

    service = Service(settings, Metrics(), Heartbeat(), only_bad=stretches)
    ended = threading.Event()

    def stop_when_passed() -> None:
        while not ended.wait(LOOK_SECONDS):
            try:
                if _are_passed(admin, settings.consumer_group, stretches):
                    service.stop()
                    return
            except KafkaException as error:
                log.warning("cannot read the committed offsets, retrying: %s", error)

    threading.Thread(target=stop_when_passed, name="set-aside", daemon=True).start()
    service.stop_on_signals()
    try:
        service.run()
    finally:
        ended.set()
    return _are_passed(admin, settings.consumer_group, stretches)


def _are_passed(admin: AdminClient, group: str, stretches: Mapping[Place, range]) -> bool:
    names = {topic for topic, _ in stretches}
    places = {name: positions(admin, group, describe_topic(admin, name)) for name in names}
    return all(p in places[name] and places[name][p].stored_to >= s.stop for (name, p), s in stretches.items())
