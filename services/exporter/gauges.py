"""The gauges of each part's last collection, as Prometheus scrapes them."""

import logging
from collections.abc import Iterable, Mapping
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.contracts.metrics import Metric

log = logging.getLogger(__name__)

Labels = tuple[str, ...]
Samples = Mapping[Metric, Mapping[Labels, float]]
"""Values by the labels that the metric declares, in that order."""


class Gauges(Collector):
    """Holds each part's samples until its next collection, which replaces all of them: series that are gone end."""

    def __init__(self, metrics: Iterable[Metric], registry: CollectorRegistry) -> None:
        self._metrics = tuple(metrics)
        self._samples: dict[str, Samples] = {}
        self._lock = Lock()
        registry.register(self)

    def show(self, part: str, samples: Samples) -> None:
        """Show `samples` in place of what the part showed before.

        Raises:
            ValueError: a metric is not one of ours.
        """
        if unknown := [metric.name for metric in samples if metric not in self._metrics]:
            raise ValueError(f"{part}: not one of the exporter's metrics: {', '.join(unknown)}")
        clean = {metric: _clean(metric, found) for metric, found in samples.items()}
        with self._lock:
            self._samples[part] = clean

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return every family, also those without a sample."""
        with self._lock:
            parts = list(self._samples.values())
        families = [GaugeMetricFamily(metric.name, metric.help, labels=metric.labels) for metric in self._metrics]
        for metric, family in zip(self._metrics, families, strict=True):
            for samples in parts:
                for labels, value in samples.get(metric, {}).items():
                    family.add_metric(labels, value)
        return families


def _clean(metric: Metric, found: Mapping[Labels, float]) -> dict[Labels, float]:
    """Leave out samples that cannot be rendered: one bad value would break the whole scrape."""
    clean: dict[Labels, float] = {}
    for labels, value in found.items():
        try:
            texts = tuple(str(label).encode(errors="replace").decode() for label in labels)
            clean[texts] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            log.warning("%s%s cannot be shown: %s", metric.name, labels, error)
    return clean
