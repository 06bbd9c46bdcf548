"""What a process takes of its machine; prometheus-client and Prometheus's own programs measure it alike."""

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import units

from grafana.panels import chart
from grafana.queries import over_time


def cpu(where: str) -> timeseries.Panel:
    """Chart the CPU time of the processes whose labels match ``where``."""
    return chart(
        "How many CPU cores does each process use?",
        "CPU seconds per second; 1 is one core, fully used.",
        units.Short,
        over_time(f"rate(process_cpu_seconds_total{{{where}}}[$__rate_interval])", "{{job}} {{instance}}"),
    )


def memory(where: str) -> timeseries.Panel:
    """Chart the memory of the processes whose labels match ``where``."""
    return chart(
        "How much memory does each process hold?",
        "Resident memory. A steady rise over days is a leak.",
        units.BytesIEC,
        over_time(f"process_resident_memory_bytes{{{where}}}", "{{job}} {{instance}}"),
    )
