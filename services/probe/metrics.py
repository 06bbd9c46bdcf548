"""The probe's Prometheus metrics, made from their declarations."""

from enum import StrEnum

from prometheus_client import REGISTRY, CollectorRegistry

from services.common.telemetry import counter, histogram
from services.contracts import metrics as declared


class Outcome(StrEnum):
    """How a round ended."""

    OK = "ok"
    """Every list followed the like, and the like was taken back."""
    TIMEOUT = "timeout"
    """The like was accepted, but a list still showed the film."""
    REFUSED = "refused"
    """The API answered, but not with what was asked for."""
    UNREACHABLE = "unreachable"
    """The API did not answer."""


class Metrics:
    """All metrics of the process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.like_to_list_seconds = histogram(declared.LIKE_TO_LIST_SECONDS, registry)
        self.rounds = counter(declared.PROBE_ROUNDS, registry)
        for outcome in Outcome:  # from 0, so that Prometheus sees the first one rise
            self.rounds.labels(outcome.value)
