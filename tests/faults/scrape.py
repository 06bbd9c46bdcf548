"""A process's metrics, read as Prometheus would."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def metric(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples whose labels include ``labels``; 0 when there is none.

    Raises:
        OSError: nothing listens on the port.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
