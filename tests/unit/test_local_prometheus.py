"""Prometheus' one configuration, and what the local stack makes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.programs import programs
from infra.local.prometheus import CONFIGURATION, configuration_text, local_configuration, targets
from infra.local.settings import ROOT, StackSettings

SHARED: dict[str, Any] = yaml.safe_load((ROOT / CONFIGURATION).read_text())


def _settings() -> StackSettings:
    return StackSettings(
        _env_file=None,
        postgres_password="x",
        clickhouse_password="x",
        clickhouse_reader_password="x",
        admin_api_key="x",
        airflow_admin_password="x",
        prometheus_interval_seconds=3,
    )


def test_every_job_gets_its_local_address_in_place_of_its_discovery() -> None:
    local = local_configuration(SHARED, {"inference": "127.0.0.1:1", "probe": "127.0.0.1:2"}, Path("/rules"), 2)

    assert local["scrape_configs"] == [
        {"job_name": "inference", "static_configs": [{"targets": ["127.0.0.1:1"]}]},
        {"job_name": "probe", "static_configs": [{"targets": ["127.0.0.1:2"]}]},
    ]
    assert local["global"]["scrape_interval"] == local["global"]["evaluation_interval"] == "2s"
    assert local["global"]["scrape_timeout"] == "2s"  # never longer than the interval, which Prometheus refuses
    assert local["rule_files"] == ["/rules/*.yml"]
    assert "alerting" not in local


def test_what_a_job_says_beside_its_discovery_is_kept_and_the_shared_configuration_is_not_changed() -> None:
    job = {
        "job_name": "a",
        "honor_labels": True,
        "metrics_path": "/m",
        "dns_sd_configs": [{"names": ["a"]}],
        "metric_relabel_configs": [{"action": "drop"}],
    }
    shared = {"global": {"scrape_interval": "15s"}, "rule_files": [], "scrape_configs": [job]}
    before = yaml.safe_dump(shared)

    (local,) = local_configuration(shared, {"a": "h:1"}, Path("/r"), 1)["scrape_configs"]

    assert local == {
        "job_name": "a",
        "honor_labels": True,
        "metrics_path": "/m",
        "static_configs": [{"targets": ["h:1"]}],
        "metric_relabel_configs": [{"action": "drop"}],
    }
    assert yaml.safe_dump(shared) == before


def test_a_target_whose_job_nobody_configured_is_an_error() -> None:
    with pytest.raises(ValueError, match="infrence"):
        local_configuration(SHARED, {"infrence": "127.0.0.1:1"}, Path("/rules"), 5)


def test_every_job_of_ours_has_a_target_on_a_port_that_its_program_binds(tmp_path: Path) -> None:
    for name in ("prometheus", "statsd_exporter"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    settings = _settings()
    everything = programs(settings, str(tmp_path))

    found = targets(settings, everything)

    only_in_compose = {"clickhouse", "loki", "alloy", "grafana"}
    assert set(found) == {job["job_name"] for job in SHARED["scrape_configs"]} - only_in_compose
    ports = {port for program in everything.values() for port in program.ports.values()}
    assert {int(address.rpartition(":")[2]) for address in found.values()} <= ports
    assert set(targets(settings, ["consumer"])) == {"consumer"}


def test_the_local_configuration_is_written_for_what_runs() -> None:
    local = yaml.safe_load(configuration_text(_settings(), ["inference", "prometheus"]))
    assert [job["job_name"] for job in local["scrape_configs"]] == ["inference", "prometheus"]
    assert local["global"]["scrape_interval"] == "3s"
    assert list((ROOT / CONFIGURATION).parent.glob("rules/*.yml")) == list(Path("/").glob(local["rule_files"][0][1:]))


def test_every_replica_of_a_scaled_service_is_a_target() -> None:
    scaled = {job["job_name"]: job["dns_sd_configs"] for job in SHARED["scrape_configs"] if "dns_sd_configs" in job}
    assert set(scaled) == {"inference", "consumer"}
    for job, (lookup,) in scaled.items():
        assert (lookup["names"], lookup["type"]) == ([job], "A")
