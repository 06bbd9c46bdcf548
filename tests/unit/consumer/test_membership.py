"""What becomes of an offset that the broker does not have: a gap is named, and nothing else stops the consumer."""

from collections.abc import Iterable
from dataclasses import dataclass
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from services.common.kafka import TopicIdentity
from services.consumer.membership import Membership, Owned, RestartError
from services.consumer.metrics import Metrics
from services.consumer.start import GapError, Start, UnansweredError

TOPIC = TopicIdentity("events", "an incarnation", (0, 1))
PLACE = ("events", 0)
UNAVAILABLE = KafkaError(KafkaError._AUTO_OFFSET_RESET)


@dataclass
class Broker:
    """What a new start would find."""

    present: TopicIdentity | Exception = TOPIC
    gap: Exception | None = None

    def identify(self, _topic: str) -> TopicIdentity:
        if isinstance(self.present, Exception):
            raise self.present
        return self.present

    def of(self, topic: TopicIdentity, partitions: Iterable[int]) -> dict[int, Start]:
        assert (topic, list(partitions)) == (TOPIC, [0])
        if self.gap is not None:
            raise self.gap
        return {0: Start(0)}


def membership(broker: Broker) -> Membership:
    found = Membership(Mock(), broker, Metrics(CollectorRegistry()), drain=Mock(), drop=Mock(), fail=Mock())  # type: ignore[arg-type]
    found.owned[PLACE] = Owned(TOPIC, next=100)
    return found


def test_records_that_are_gone_are_a_gap() -> None:
    with pytest.raises(GapError, match="offsets 42 to 49 are gone"):
        membership(Broker(gap=GapError("offsets 42 to 49 are gone"))).on_unavailable_offset(PLACE, UNAVAILABLE)


def test_a_late_error_of_another_incarnation_is_no_gap() -> None:
    """The topic was recreated and assigned, and only then the client reports an offset of the one before."""
    with pytest.raises(RestartError, match=r"events/0: .*not there"):
        membership(Broker()).on_unavailable_offset(PLACE, UNAVAILABLE)


def test_a_topic_recreated_meanwhile_is_no_gap() -> None:
    again = TopicIdentity("events", "the next incarnation", (0, 1))
    with pytest.raises(RestartError, match="recreated"):
        membership(Broker(again)).on_unavailable_offset(PLACE, UNAVAILABLE)


@pytest.mark.parametrize(
    "broker",
    [
        Broker(KafkaException(KafkaError(KafkaError._TRANSPORT))),
        Broker(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))),
        Broker(gap=UnansweredError("nobody tells where it begins")),
    ],
)
def test_while_nobody_answers_the_next_start_will_look(broker: Broker) -> None:
    with pytest.raises(RestartError, match=r"events/0: .*not there"):
        membership(broker).on_unavailable_offset(PLACE, UNAVAILABLE)


def test_a_partition_that_is_not_ours_any_more_is_nobodys_concern() -> None:
    membership(Broker(gap=GapError("not ours"))).on_unavailable_offset(("events", 1), UNAVAILABLE)
