"""The service's Prometheus objects, made once per process from their declarations."""

from prometheus_client import CollectorRegistry

from services.common.telemetry import counter, gauge, histogram
from services.contracts import metrics as declared
from services.contracts.rest import DEFAULT_VARIANT, Strategy


class Metrics:
    """All metrics of one replica, in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.request_seconds = histogram(declared.HTTP_REQUEST_SECONDS, registry)
        self.requests_in_flight = gauge(declared.HTTP_IN_FLIGHT, registry)
        self.events_produced = counter(declared.EVENTS_PRODUCED, registry)
        self.publish_seconds = histogram(declared.EVENTS_PUBLISH_SECONDS, registry)
        self.lists_served = counter(declared.RECOMMENDATIONS_SERVED, registry)
        self.recommendation_seconds = histogram(declared.RECOMMENDATION_SECONDS, registry)
        self.impressions_dropped = counter(declared.IMPRESSIONS_DROPPED, registry)
        self.live_lag_seconds = histogram(declared.LIVE_HISTORY_LAG, registry)
        self.live_skipped = counter(declared.LIVE_HISTORY_SKIPPED, registry)
        self.live_gap = gauge(declared.LIVE_HISTORY_GAP, registry)
        self.model_info = gauge(declared.MODEL_INFO, registry)
        self.model_trained = gauge(declared.MODEL_TRAINED_TIMESTAMP, registry)
        self.model_reloads = counter(declared.MODEL_RELOADS, registry)
        self.model_metric = gauge(declared.MODEL_METRIC, registry)
        self._begin_at_0()

    def _begin_at_0(self) -> None:
        """Initialise the counters that alerts watch: Prometheus sees an increase only between two values."""
        for strategy in Strategy:
            self.lists_served.labels(strategy, DEFAULT_VARIANT)
        for outcome in ("swapped", "unchanged", "refused", "failed"):
            self.model_reloads.labels(outcome)
        for outcome in ("acknowledged", "unconfirmed", "refused"):
            self.events_produced.labels(outcome)
