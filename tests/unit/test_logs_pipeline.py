"""The way of a log line: from our formatter through Alloy's stages to Loki, by their own configuration."""

import json
import logging
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.contracts.logs import REQUEST_ID, RUN_ID, TRACE_ID, JsonFormatter, log_context
from tests.support.processes import ROOT
from tests.support.tools import require_tool

ALLOY = ROOT / "infra/alloy/config.alloy"
LOKI = ROOT / "infra/loki/loki.yml"
IDS = {TRACE_ID, REQUEST_ID, RUN_ID}
Block = dict[str, Any]


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    done = check(ALLOY)
    assert done.returncode == 0, done.stderr
    read: list[Block] = json.loads(done.stdout)
    return read


@pytest.fixture(scope="module")
def stages(blocks: list[Block]) -> dict[str, Block]:
    """What each stage that lines go through is told."""
    found = [(stage["name"], stage["attributes"]) for stage in the(blocks, "loki.process")["blocks"]]
    assert len(dict(found)) == len(found), "a stage twice"
    return dict(found)


@pytest.fixture(scope="module")
def loki() -> Block:
    read: Block = yaml.safe_load(LOKI.read_text())
    return read


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """Alloy's own parser and formatter."""
    argv = [require_tool("alloy_check"), str(path)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def the(blocks: list[Block], name: str) -> Block:
    (found,) = [block for block in blocks if block["name"] == name]
    return found


def a_line() -> dict[str, Any]:
    """A line as our processes write it, with every id that there is."""
    record = logging.LogRecord("services.inference", logging.INFO, __file__, 1, "stored", (), None)
    with log_context(**dict.fromkeys(IDS, "1f")):
        line: dict[str, Any] = json.loads(JsonFormatter("inference").format(record))
    return line


def values(value: object) -> Iterator[str]:
    """All texts in it, however deep."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from values(inner)
    else:
        yield str(value)


def test_the_configuration_is_alloys_language(blocks: list[Block]) -> None:
    assert {block["name"] for block in blocks} >= {"discovery.docker", "loki.source.docker", "loki.write"}


@pytest.mark.parametrize("broken", ["loki.write {", 'loki.write "a" { url = }', 'loki.write "a" { url="x" }'])
def test_what_is_not_the_language_is_refused(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "config.alloy"
    file.write_text(broken)
    assert check(file).returncode == 1


def test_every_component_that_another_names_is_there(blocks: list[Block]) -> None:
    there = {f"{block['name']}.{block['label']}" for block in blocks if block["label"]}
    named = {
        match
        for text in values(blocks)
        for match in re.findall(r"((?:discovery|loki)\.[a-z_.]+)\.(?:targets|output|receiver)", text)
    }
    assert named
    assert named <= there


def test_lines_go_from_the_containers_to_loki(blocks: list[Block]) -> None:
    assert the(blocks, "loki.source.docker")["attributes"]["forward_to"] == ["loki.process.lines.receiver"]
    assert the(blocks, "loki.process")["attributes"]["forward_to"] == ["loki.write.loki.receiver"]


def test_what_the_stages_read_is_what_our_lines_say(stages: dict[str, Block]) -> None:
    read = stages["stage.json"]["expressions"]
    assert read == {name: name for name in read}
    assert set(read) <= set(a_line())
    assert set(read) >= {"time", "level", *IDS}


def test_the_stages_use_only_what_they_have_read(blocks: list[Block], stages: dict[str, Block]) -> None:
    (relabel,) = [block for block in blocks if block["name"] == "discovery.relabel"]
    from_docker = {rule["attributes"].get("target_label") for rule in relabel["blocks"]}
    known = set(stages["stage.json"]["expressions"]) | from_docker
    assert stages["stage.timestamp"]["source"] in known
    assert set(stages["stage.labels"]["values"]) <= known
    assert set(stages["stage.structured_metadata"]["values"]) <= known


def test_labels_are_service_level_and_env_alone(blocks: list[Block], stages: dict[str, Block]) -> None:
    at_the_end = set(the(blocks, "loki.write")["attributes"]["external_labels"])
    assert set(stages["stage.label_keep"]["values"]) | at_the_end == {"service", "level", "env"}
    assert set(stages["stage.labels"]["values"]) == {"level"}
    assert list(stages)[-1] == "stage.label_keep", "a later stage could add a label"


def test_every_id_is_structured_metadata(stages: dict[str, Block]) -> None:
    assert set(stages["stage.structured_metadata"]["values"]) >= IDS


def test_no_stage_drops_lines(stages: dict[str, Block]) -> None:
    assert set(stages) <= {
        "stage.json",
        "stage.timestamp",
        "stage.template",
        "stage.labels",
        "stage.structured_metadata",
        "stage.label_keep",
    }
    assert "drop_malformed" not in stages["stage.json"], "Kafka's lines are not JSON"


def test_lines_that_do_not_say_their_level_have_one(stages: dict[str, Block]) -> None:
    """Grafana's choice of levels asks for lines that have the label."""
    assert stages["stage.template"]["source"] == "level"
    assert "{{ else }}unknown{{ end }}" in stages["stage.template"]["template"]
    assert list(stages).index("stage.template") < list(stages).index("stage.labels")


def test_a_line_without_a_time_does_not_get_that_of_the_line_before(stages: dict[str, Block]) -> None:
    assert stages["stage.timestamp"]["action_on_failure"] == "skip"


def test_the_time_in_our_lines_is_one_that_the_stage_reads(stages: dict[str, Block]) -> None:
    assert stages["stage.timestamp"]["format"] == "RFC3339Nano"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+([+-]\d\d:\d\d|Z)", a_line()["time"])


def test_containers_that_have_ended_are_read_too(blocks: list[Block]) -> None:
    filters = {block["attributes"]["name"]: block["attributes"] for block in the(blocks, "discovery.docker")["blocks"]}
    assert {"running", "exited"} <= set(filters["status"]["values"])


def test_how_far_a_container_was_read_does_not_depend_on_its_address(blocks: list[Block]) -> None:
    *_, last = the(blocks, "discovery.relabel")["blocks"]
    assert last["attributes"]["action"] == "labelkeep"
    keep = re.compile(last["attributes"]["regex"])
    assert keep.fullmatch("__meta_docker_container_id"), "loki.source.docker finds the container by it"
    assert not keep.fullmatch("__meta_docker_network_ip")
    assert not keep.fullmatch("__meta_docker_port_private")


def test_loki_stores_structured_metadata(loki: Block) -> None:
    (schema,) = loki["schema_config"]["configs"]
    assert (schema["schema"], schema["store"]) == ("v13", "tsdb")
    assert loki["limits_config"]["allow_structured_metadata"] is True


def test_loki_deletes_what_is_older_than_its_retention(loki: Block) -> None:
    compactor, limits = loki["compactor"], loki["limits_config"]
    assert compactor["retention_enabled"] is True
    assert compactor["delete_request_store"] == "filesystem", "Loki does not start with retention and without it"
    kept, accepted = hours(limits["retention_period"]), hours(limits["reject_old_samples_max_age"])
    assert kept >= timedelta(hours=24), "what is shorter Loki refuses"
    assert accepted <= kept, "a line must not be deleted as it arrives"


def test_loki_takes_no_more_labels_than_alloy_sends_and_adds_none(loki: Block) -> None:
    assert loki["limits_config"]["max_label_names_per_series"] >= 3
    assert loki["limits_config"]["discover_service_name"] == []
    assert loki["limits_config"]["discover_log_levels"] is False


def test_loki_keeps_everything_in_its_volume_and_tells_nobody(loki: Block) -> None:
    paths = [text for text in values(loki) if text.startswith("/")]
    assert paths
    assert all(text == "/loki" or text.startswith("/loki/") for text in paths)
    assert loki["analytics"]["reporting_enabled"] is False


def hours(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)h", text)
    assert match, text
    return timedelta(hours=int(match.group(1)))
