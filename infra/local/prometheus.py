"""Prometheus for the local stack: its configuration, made of the one that Compose uses, and its targets."""

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.local.settings import StackSettings

CONFIGURATION = Path("infra") / "prometheus" / "prometheus.yml"
STATSD_MAPPING = Path("infra") / "prometheus" / "statsd_mapping.yml"


def targets(settings: StackSettings, running: Collection[str]) -> dict[str, str]:
    """The address of each job that has one on this machine; `running` names the stack's programs."""
    by_program = {
        "inference": ("inference", settings.inference_port),
        "consumer": ("consumer", settings.consumer_metrics_port),
        "probe": ("probe", settings.probe_port),
        "exporter": ("exporter", settings.exporter_port),
        "ui": ("ui", settings.ui_metrics_port),
        "statsd-exporter": ("airflow", settings.statsd_exporter_port),
        "prometheus": ("prometheus", settings.prometheus_port),
    }
    return {job: f"127.0.0.1:{port}" for program, (job, port) in by_program.items() if program in running}


def local_configuration(
    shared: Mapping[str, Any], targets: Mapping[str, str], rules: Path, interval_seconds: int
) -> dict[str, Any]:
    """The configuration `shared` with `targets` (address by job) in place of every job's discovery.

    Jobs without a target are left out, and so is Alertmanager: alerts are seen in Prometheus. Rules are read from the
    folder `rules`, and everything is scraped and evaluated every `interval_seconds`.

    Raises:
        ValueError: a target's job is not in `shared`.
    """
    jobs = {job["job_name"]: job for job in shared["scrape_configs"]}
    unknown = sorted(set(targets) - set(jobs))
    if unknown:
        raise ValueError(f"no such job in Prometheus' configuration: {', '.join(unknown)}")
    local = {key: copy.deepcopy(value) for key, value in shared.items() if key != "alerting"}
    local["global"] |= {
        "scrape_interval": f"{interval_seconds}s",
        "scrape_timeout": f"{interval_seconds}s",
        "evaluation_interval": f"{interval_seconds}s",
    }
    local["rule_files"] = [str(rules / Path(pattern).name) for pattern in shared["rule_files"]]
    local["scrape_configs"] = [
        {key: value for key, value in job.items() if not key.endswith("_configs") or key == "metric_relabel_configs"}
        | {"static_configs": [{"targets": [targets[name]]}]}
        for name, job in jobs.items()
        if name in targets
    ]
    return local


def configuration_text(settings: StackSettings, running: Collection[str]) -> str:
    """What Prometheus reads in the local stack, as YAML."""
    file = settings.root / CONFIGURATION
    local = local_configuration(
        yaml.safe_load(file.read_text()),
        targets(settings, running),
        file.parent / "rules",
        settings.prometheus_interval_seconds,
    )
    return yaml.safe_dump(local, sort_keys=False)
