"""From polled messages to blocks, each partition in the order of its offsets, without a hole of our own making.

Messages wait here as they were polled until a block has room for them, so that no block outgrows its limit, and so that
the next ones can be decoded while ClickHouse works on the last.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from confluent_kafka import KafkaError, Message

from services.consumer.batch import Block, Limits, open_block
from services.consumer.decode import Stream
from services.consumer.membership import Membership, Place, RestartError
from services.consumer.metrics import Metrics
from services.consumer.record import Record, record_of
from services.consumer.start import GapError

log = logging.getLogger(__name__)

_TOPIC_TROUBLE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


class Intake:
    """Holds one open block per partition; all are due once together they hold ``held_rows`` or ``limits.bytes``."""

    def __init__(
        self,
        streams: Sequence[Stream],
        membership: Membership,
        metrics: Metrics,
        *,
        limits: Limits,
        held_rows: int,
        clock: Callable[[], float],
    ) -> None:
        self._streams = {stream.topic: stream for stream in streams}
        self._membership = membership
        self._metrics = metrics
        self._limits = limits
        self._held_rows = held_rows
        self._clock = clock
        self._polled: deque[Message] = deque()
        self._blocks: dict[Place, Block] = {}
        self.taken = 0
        """Records taken in so far; a redelivery counts again."""

    @property
    def is_waited_for(self) -> bool:
        """Whether messages wait to be taken in."""
        return bool(self._polled)

    @property
    def is_holding(self) -> bool:
        """Whether anything is held that is not stored."""
        return bool(self._polled or self._blocks)

    @property
    def room(self) -> int:
        """How many more messages may be offered; 0 when as many are held as may be."""
        return max(0, self._held_rows - len(self._polled) - sum(map(len, self._blocks.values())))

    def offer(self, messages: Iterable[Message]) -> None:
        """Keep messages in the order in which they were polled, behind those that wait already.

        Raises:
            GapError: the broker no longer has the records that come next.
            RestartError: the client is beyond repair.
        """
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_error(error, message)
            else:
                self._polled.append(message)

    def take_in(self, at_most: int | None = None) -> bool:
        """Decode waiting messages into the open blocks, until one is due; return whether any was taken."""
        now = self._clock()
        left = len(self._polled) if at_most is None else min(at_most, len(self._polled))
        taken: Counter[str] = Counter()
        try:
            while left and self._polled:
                left -= 1
                record = record_of(self._polled[0])
                block = self._blocks.get((record.topic, record.partition))
                if block is not None and block.is_due(self._limits, now):
                    break
                self._polled.popleft()
                if self._take(record, block, now):
                    taken[record.topic] += 1
        finally:
            self.taken += taken.total()
            for topic, count in taken.items():  # once per call: a labelled metric costs as much as decoding a field
                self._metrics.consumed.labels(topic).inc(count)
        return bool(taken)

    def _take(self, record: Record, block: Block | None, now: float) -> bool:
        """Add the record to its partition's block; return whether it was one for us."""
        place = (record.topic, record.partition)
        owned = self._membership.owned.get(place)
        if owned is None or record.offset < owned.next:
            return False  # revoked meanwhile, or fetched before we went back
        if record.offset > owned.next and not self._is_hole_real(place, record.offset):
            return False
        owned.next = record.offset + 1
        if block is None:
            self._blocks[place] = open_block(self._streams[record.topic], owned.topic.epoch, record, now)
        else:
            block.add(record)
        return True

    def _is_hole_real(self, place: Place, offset: int) -> bool:
        """Go back once to see whether the records before ``offset`` are really not there."""
        owned = self._membership.owned[place]
        if owned.sought != owned.next:
            owned.sought = owned.next
            log.warning("%s/%d: %d came where %d was next; fetching again", *place, offset, owned.next)
            self._forget_polled([place])
            self._membership.go_back(place)
            return False
        # Only a transaction's markers or compaction make such holes, and our topics have neither.
        log.error("%s/%d: offsets %d to %d do not exist; the audit will report them", *place, owned.next, offset - 1)
        return True

    def _on_error(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._membership.confirm({owned.topic for owned in self._membership.owned.values()})
            raise GapError(
                f"{message.topic()}/{message.partition()}: the broker no longer has what comes next: {error}"
            )
        if error.fatal():
            raise RestartError(f"Kafka's client cannot go on: {error}")
        if error.code() in _TOPIC_TROUBLE:
            log.warning("a topic is not there: %s", error)
        else:
            log.warning("Kafka: %s", error)

    def _forget_polled(self, places: Iterable[Place]) -> None:
        gone = set(places)
        self._polled = deque(m for m in self._polled if (m.topic(), m.partition()) not in gone)

    def drop(self, places: Iterable[Place]) -> None:
        """Forget all that is held of these partitions."""
        self._forget_polled(places)
        self.of(places)

    def due(self) -> list[Block]:
        """Take out the blocks that have reached a limit; all of them when together they hold too much."""
        blocks = self._blocks.values()
        if sum(map(len, blocks)) >= self._held_rows or sum(block.bytes for block in blocks) >= self._limits.bytes:
            return self.all()
        now = self._clock()
        return self.of([block.place for block in blocks if block.is_due(self._limits, now)])

    def all(self) -> list[Block]:
        """Take out every block."""
        return self.of(list(self._blocks))

    def of(self, places: Iterable[Place]) -> list[Block]:
        """Take out the blocks of these partitions."""
        return [block for place in places if (block := self._blocks.pop(place, None)) is not None]
