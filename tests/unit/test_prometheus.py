"""Rules and their tests, as Prometheus' own tools see them."""

import subprocess

from tests.support.processes import ROOT
from tests.support.tools import require_tool

PROMETHEUS = ROOT / "infra" / "prometheus"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))


def check(*argv: str) -> None:
    done = subprocess.run([require_tool(argv[0]), *argv[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_prometheus_takes_the_rules() -> None:
    check("promtool", "check", "rules", *map(str, RULES))


def test_every_alert_fires_and_stays_silent_as_its_tests_say() -> None:
    check("promtool", "test", "rules", *map(str, TESTS))
