"""The consumer's Prometheus metrics, made from their declarations."""

from collections.abc import Collection
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from services.common.telemetry import counter, gauge, histogram
from services.consumer.decode import Reason
from services.contracts import metrics as declared


@dataclass
class Metrics:
    """All metrics of one consumer process."""

    registry: CollectorRegistry = REGISTRY
    consumed: Counter = field(init=False)
    written: Counter = field(init=False)
    insert_seconds: Histogram = field(init=False)
    block_rows: Histogram = field(init=False)
    insert_retries: Counter = field(init=False)
    commit_failures: Counter = field(init=False)
    rebalances: Counter = field(init=False)
    quarantined: Counter = field(init=False)
    erased: Counter = field(init=False)
    audit_missing: Gauge = field(init=False)
    audit_last: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.consumed = counter(declared.INGEST_RECORDS_CONSUMED, self.registry)
        self.written = counter(declared.INGEST_ROWS_WRITTEN, self.registry)
        self.insert_seconds = histogram(declared.INGEST_INSERT_SECONDS, self.registry)
        self.block_rows = histogram(declared.INGEST_BLOCK_ROWS, self.registry)
        self.insert_retries = counter(declared.INGEST_INSERT_RETRIES, self.registry)
        self.commit_failures = counter(declared.INGEST_COMMIT_FAILURES, self.registry)
        self.rebalances = counter(declared.INGEST_REBALANCES, self.registry)
        self.quarantined = counter(declared.INGEST_QUARANTINED, self.registry)
        for reason in Reason:  # from 0, so that Prometheus sees the first one rise
            self.quarantined.labels(reason.value)
        self.erased = counter(declared.INGEST_ERASED, self.registry)
        self.audit_missing = gauge(declared.INGEST_AUDIT_MISSING, self.registry)
        self.audit_last = gauge(declared.INGEST_AUDIT_LAST, self.registry)

    def keep_only(self, owned: Collection[tuple[str, int]]) -> None:
        """Remove the audit's findings about all partitions but these, each (topic, number).

        Their new owner exports them now; our stale value would never change again and win where the maximum is taken.
        Audit times stay, as the latest counts.
        """
        wanted = {(topic, str(partition)) for topic, partition in owned}
        samples = [sample for family in self.audit_missing.collect() for sample in family.samples]
        for labels in {(sample.labels["topic"], sample.labels["partition"]) for sample in samples} - wanted:
            self.audit_missing.remove(*labels)
