"""Where data of an erased viewer may be left: in models on disk, in Kafka, and outside this service."""

import logging
from datetime import datetime
from pathlib import Path

import numpy as np
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.common import kafka
from services.common.retention import longest_kept
from services.contracts.ids import UserId
from services.contracts.rest import KafkaRecords, Kept

NOT_OURS = [
    "the data set's own files (MOVIELENS_DIR, or where they were fetched to): loading them again leaves the viewer out",
    "backups of the stores and of the folders, and copies of files that landed",
    "what other consumers of the topics have stored",
]
_KAFKA_SECONDS = 3.0

log = logging.getLogger(__name__)


class RemainingData:
    """Looks for remaining data of erased viewers. Blocks; raises nothing."""

    def __init__(self, model_dir: Path, brokers: str, topics: tuple[str, ...]) -> None:
        self._model_dir = model_dir
        self._brokers = brokers
        self._topics = topics

    def bundles(self, user_id: UserId) -> int:
        """Return how many models on disk contain the viewer; one that cannot be read counts."""
        return sum(_holds(path, user_id) for path in self._model_dir.glob("*/user_ids.npy"))

    def kafka(self, erased_at: datetime) -> list[KafkaRecords]:
        """Return until when each topic may keep records of a viewer erased at `erased_at`."""
        try:
            kept = longest_kept(self._client(), self._topics, timeout_seconds=_KAFKA_SECONDS)
        except (KafkaException, TimeoutError) as error:
            log.warning("Kafka's retention cannot be read: %s", error)
            return [KafkaRecords(topic=topic, kept=Kept.UNKNOWN) for topic in self._topics]
        records = []
        for topic, at_most in kept.items():
            try:
                until = None if at_most is None else erased_at + at_most
            except OverflowError:  # after the year 9999
                until = None
            records.append(KafkaRecords(topic=topic, kept=Kept.UNTIL if until else Kept.UNLIMITED, until=until))
        return records

    def _client(self) -> AdminClient:
        return kafka.admin(self._brokers)


def _holds(user_ids: Path, user_id: UserId) -> bool:
    try:
        ids = np.load(user_ids, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return False  # deleted just now
    except (OSError, ValueError):
        return True
    return bool(np.isin(user_id, ids))
