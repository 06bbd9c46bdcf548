"""Messages become blocks in order, no block outgrows its limit, and no hole is taken for real before a second look."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest
from confluent_kafka import KafkaError, Message
from prometheus_client import CollectorRegistry

from services.common.kafka import TopicIdentity
from services.consumer import intake
from services.consumer.batch import Limits
from services.consumer.decode import OFFSET, events_stream
from services.consumer.intake import Intake
from services.consumer.membership import Owned, Place
from services.consumer.metrics import Metrics
from services.consumer.record import Record, record_of
from services.contracts.events import Event

TOPIC = TopicIdentity("events", "an incarnation", (0, 1))
HELD_ROWS = 30
NOON_MS = 1_793_534_400_000  # 2026-11-01
VALUE = (
    Event.model_validate(
        {"event_id": UUID(int=1), "user_id": 1, "item_id": 2, "action": "like", "event_time": "2026-11-01T12:00:00Z"}
    )
    .model_dump_json()
    .encode()
)


class FakeMembership:
    """Owns both partitions from offset 0; remembers where it was sent back to."""

    def __init__(self) -> None:
        self.owned: dict[Place, Owned] = {("events", p): Owned(TOPIC, 0) for p in TOPIC.partitions}
        self.went_back: list[tuple[Place, int]] = []

    def go_back(self, place: Place) -> None:
        self.went_back.append((place, self.owned[place].next))


@dataclass
class World:
    """An intake whose clock stands still until it is moved."""

    now: float = 0.0
    membership: FakeMembership = field(default_factory=FakeMembership)

    def __post_init__(self) -> None:
        self.intake = Intake(
            [events_stream("events")],
            self.membership,  # type: ignore[arg-type]
            Metrics(CollectorRegistry()),
            limits=Limits(rows=10, bytes=2**20, seconds=1),
            held_rows=HELD_ROWS,
            clock=lambda: self.now,
        )

    def polled(self, *offsets: int, partition: int = 0) -> None:
        """Offer messages with these offsets."""
        self.intake.offer(
            Message(
                topic="events",
                partition=partition,
                offset=offset,
                key=b"1",
                value=VALUE,
                timestamp=(1, NOON_MS),
            )
            for offset in offsets
        )

    def reached(self, end: int, partition: int = 0) -> None:
        """Offer what Kafka's client says at a partition's end."""
        self.failed(KafkaError._PARTITION_EOF, end, partition)

    def failed(self, code: int, offset: int = -1, partition: int = 0) -> None:
        """Offer an error of a partition."""
        self.intake.offer([Message(topic="events", partition=partition, offset=offset, error=KafkaError(code))])

    def stored(self) -> dict[int, list[int]]:
        """Take out what is held; return its offsets by partition."""
        blocks = self.intake.all()
        self.holes = {b.partition: [offset for hole in b.holes for offset in hole] for b in blocks if b.holes}
        self.last = {block.partition: block.last for block in blocks}
        return {block.partition: [row[OFFSET] for row in block.rows] for block in blocks}


@pytest.fixture
def world() -> World:
    return World()


def test_a_block_is_sealed_at_exactly_its_limit_and_the_rest_waits(world: World) -> None:
    world.polled(*range(25))
    sizes = []
    while world.intake.is_holding:
        world.intake.take_in()
        sizes.append([len(block) for block in world.intake.due() or world.intake.all()])
    assert sizes == [[10], [10], [5]]


def test_a_block_that_is_old_enough_takes_no_more(world: World) -> None:
    world.polled(0, 1)
    world.intake.take_in()
    world.now = 1.0
    world.polled(2)
    assert not world.intake.take_in()
    assert [len(block) for block in world.intake.due()] == [2]
    assert world.intake.take_in()
    assert world.stored() == {0: [2]}


def test_a_message_that_has_to_wait_is_read_once_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look at headers that are not UTF-8 ends the process."""
    read: list[int | None] = []

    def noted(message: Message) -> Record:
        read.append(message.offset())
        return record_of(message)

    monkeypatch.setattr(intake, "record_of", noted)
    world.polled(0, 1)
    world.intake.take_in()
    world.now = 1.0
    world.polled(2)
    for _ in range(3):
        assert not world.intake.take_in()
    world.intake.due()
    assert world.intake.take_in()
    assert read == [0, 1, 2]


def test_room_counts_what_waits_and_what_is_held(world: World) -> None:
    assert world.intake.room == HELD_ROWS
    world.polled(*range(15))
    world.intake.take_in()
    assert world.intake.room == HELD_ROWS - 15
    world.polled(*range(15, 40))
    assert world.intake.room == 0


def test_a_hole_where_fetching_began_is_fetched_again_with_all_that_came_after_it(world: World) -> None:
    world.polled(2, 3, 4)
    world.polled(0, partition=1)
    world.intake.take_in()
    assert world.membership.went_back == [(("events", 0), 0)]
    world.polled(0, 1, 2, 3, 4)
    world.intake.take_in()
    assert world.stored() == {0: [0, 1, 2, 3, 4], 1: [0]}
    assert world.holes == {}


def test_a_hole_that_is_still_there_is_real(world: World) -> None:
    world.polled(3)
    world.intake.take_in()
    world.polled(3, 4)
    world.intake.take_in()
    assert world.stored() == {0: [3, 4]}
    assert world.holes == {0: [0, 1, 2]}
    assert len(world.membership.went_back) == 1


def test_a_hole_in_the_middle_of_what_is_fetched_is_real_at_once(world: World) -> None:
    """A topic with transactions has one for each: to go back for all of them would fetch everything many times."""
    world.polled(0, 1, 3, 5, 6)
    world.intake.take_in()
    assert world.stored() == {0: [0, 1, 3, 5, 6]}
    assert world.holes == {0: [2, 4]}
    assert world.membership.went_back == []


@pytest.mark.parametrize("waiting", [True, False])
def test_a_hole_after_fetching_was_disturbed_is_looked_at_twice(world: World, waiting: bool) -> None:
    """Also when what was polled before the disturbance still waits to be taken in."""
    world.polled(0, 1, 2)
    if not waiting:
        world.intake.take_in()
    world.intake.note_disturbance([("events", 0)])
    world.polled(5)
    world.intake.take_in()
    assert world.membership.went_back == [(("events", 0), 3)]
    world.polled(3, 4, 5)
    world.intake.take_in()
    assert world.stored() == {0: [0, 1, 2, 3, 4, 5]}
    assert world.holes == {}


def test_the_partitions_end_tells_of_a_hole_behind_the_last_record(world: World) -> None:
    world.polled(0, 1)
    world.reached(4)
    world.intake.take_in()
    assert world.stored() == {0: [0, 1]}
    assert world.holes == {0: [2, 3]}
    world.reached(4)
    world.polled(4)
    world.intake.take_in()
    assert world.stored() == {0: [4]}
    assert world.holes == {}
    assert world.last == {0: 4}


def test_a_partition_of_nothing_but_holes_is_passed_after_a_second_look(world: World) -> None:
    world.reached(4)
    world.intake.take_in()
    assert world.membership.went_back == [(("events", 0), 0)]
    world.reached(4)
    world.intake.take_in()
    assert world.stored() == {0: []}
    assert world.holes == {0: [0, 1, 2, 3]}
    assert world.last == {0: 3}


def test_an_end_that_lies_behind_us_says_nothing(world: World) -> None:
    world.polled(0, 1, 2)
    world.intake.take_in()
    world.reached(1)
    world.intake.take_in()
    assert world.stored() == {0: [0, 1, 2]}
    assert world.holes == {}


@pytest.mark.parametrize("code", [KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION])
def test_what_cannot_be_read_is_no_hole_and_stops_nothing(world: World, code: int) -> None:
    """It is left to the audit, which reports it as missing."""
    for _ in range(2):
        world.polled(0, 1)
        world.failed(code)
        world.polled(4, 5)
        world.intake.take_in()
    assert world.membership.went_back == [(("events", 0), 2)], "it was tried again"
    assert world.stored() == {0: [0, 1, 4, 5]}
    assert world.holes == {}


def test_nothing_is_taken_behind_an_end_or_of_another_partition(world: World) -> None:
    world.intake._until = {("events", 0): 3}
    world.polled(*range(6))
    world.reached(6)
    world.polled(0, 1, partition=1)
    world.reached(2, partition=1)
    world.intake.take_in()
    assert world.stored() == {0: [0, 1, 2]}
    assert world.holes == {}
    assert world.last == {0: 2}


def test_nothing_is_kept_of_a_partition_that_is_dropped(world: World) -> None:
    world.polled(*range(12))
    world.polled(0, partition=1)
    world.intake.take_in()
    world.intake.drop([("events", 0)])
    world.intake.take_in()
    assert world.stored() == {1: [0]}
    assert not world.intake.is_holding
