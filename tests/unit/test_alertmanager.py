"""Who hears of which alert, as Alertmanager's own tool sees it."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.processes import ROOT
from tests.support.tools import require_tool
from tests.unit.test_prometheus import ALERTS

FOLDER = ROOT / "infra" / "alertmanager"
CONFIG = FOLDER / "alertmanager.yml"
NEVER_QUIET = ("IngestOffsetGap", "IngestRetentionRisk", "ServiceDown", "DependencyDown")


def amtool(*argv: str | Path) -> str:
    done = subprocess.run(
        [require_tool("amtool"), *map(str, argv)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def targets() -> list[tuple[dict[str, str], list[re.Pattern[str]]]]:
    """Each inhibition's source labels, and the names that it silences."""
    found = []
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        source = dict(re.split(r" = ", matcher) for matcher in rule["source_matchers"])
        names = [re.split(r" =~? ", matcher)[1].strip('"') for matcher in rule["target_matchers"]]
        found.append((source, [re.compile(name) for name in names]))
    return found


def test_alertmanager_takes_the_configuration() -> None:
    assert "SUCCESS" in amtool("check-config", CONFIG)


def test_alertmanager_takes_the_example_of_receivers(tmp_path: Path) -> None:
    text = CONFIG.read_text()
    example = re.findall(r"^#(  .*)$", text.split("\nreceivers:", 1)[1], flags=re.MULTILINE)
    (tmp_path / "message.tmpl").write_text((FOLDER / "message.tmpl").read_text())
    changed = tmp_path / "alertmanager.yml"
    changed.write_text("\n".join([text.split("\nreceivers:", 1)[0], "receivers:", *example, ""]))
    assert "2 receivers" in amtool("check-config", changed)


@pytest.mark.parametrize("name", ALERTS)
def test_pages_go_to_who_is_woken_and_tickets_do_not(name: str) -> None:
    severity = ALERTS[name]["labels"]["severity"]
    routed = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"alertname={name}", f"severity={severity}")
    assert routed.split()[-1] == {"page": "pages", "ticket": "tickets"}[severity]


def test_only_alerts_that_exist_silence_others_and_are_silenced() -> None:
    for source, patterns in targets():
        assert source["alertname"] in ALERTS
        for alternative in (part for pattern in patterns for part in pattern.pattern.split("|")):
            assert any(re.fullmatch(alternative, name) for name in ALERTS), alternative


@pytest.mark.parametrize("name", NEVER_QUIET)
def test_an_alert_about_loss_or_about_a_cause_is_never_silenced(name: str) -> None:
    assert not [source for source, patterns in targets() if any(pattern.fullmatch(name) for pattern in patterns)]


def test_a_message_says_what_is_wrong_and_links_the_runbook(tmp_path: Path) -> None:
    rule = ALERTS["IngestOffsetGap"]
    alert = {"status": "firing", "labels": {"alertname": "IngestOffsetGap"}, "annotations": rule["annotations"]}
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"status": "firing", "groupLabels": alert["labels"], "alerts": [alert]}))
    written = amtool(
        "template",
        "render",
        f"--template.glob={FOLDER / 'message.tmpl'}",
        '--template.text={{ template "movierecs.title" . }}\n{{ template "movierecs.text" . }}',
        f"--template.data={data}",
    )
    assert written.startswith("[firing] IngestOffsetGap\n")
    assert rule["annotations"]["description"] in written
    assert re.search(r"https://\S+/infra/prometheus/RUNBOOK\.md#ingestoffsetgap\n", written)
