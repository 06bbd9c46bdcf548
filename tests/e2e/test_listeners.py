"""What listens in a running stack is what the table in infra/README.md says, on 127.0.0.1 and nowhere else."""

import re
import socket

import httpx
import psutil

from infra.local.leftovers import stack_processes
from tests.e2e.conftest import RunningStack
from tests.support.processes import ROOT

ROW = re.compile(r"^\| `(?P<setting>[A-Z_]+_PORT)`(?P<note>[^|]*)\|(?P<rest>.*)\|$", re.MULTILINE)


def table() -> dict[str, list[str]]:
    """The cells of the table of listeners, by the setting of their port."""
    (section,) = re.findall(r"^## What listens\n(.*)", (ROOT / "infra/README.md").read_text(), re.MULTILINE | re.DOTALL)
    return {row["setting"]: [cell.strip() for cell in row["rest"].split("|")] for row in ROW.finditer(section)}


def listeners(stack: RunningStack) -> set[tuple[str, int]]:
    """Address and port of every TCP listener of the stack's processes, and of its one UDP server."""
    found = set()
    statsd = int(stack.environment["STATSD_PORT"])
    for process in stack_processes(stack.state):
        try:
            connections = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            # Other UDP sockets are Airflow's StatsD clients, which the kernel gives a port to send from.
            is_statsd = connection.type == socket.SOCK_DGRAM and connection.laddr.port == statsd
            if connection.status == psutil.CONN_LISTEN or is_statsd:
                found.add((str(connection.laddr.ip).removeprefix("::ffff:"), int(connection.laddr.port)))
    return found


def test_every_listener_is_in_the_table_and_on_127_0_0_1(running_stack: RunningStack) -> None:
    documented = {int(running_stack.environment[setting]): setting for setting in table()}
    found = listeners(running_stack)
    assert {address for address, _ in found} == {"127.0.0.1"}
    assert {documented.get(port, f"port {port} is not in the table") for _, port in found} == set(documented.values())


def test_no_listener_lets_a_page_of_another_origin_read_it(running_stack: RunningStack) -> None:
    for setting, (_, protocol, *_rest) in table().items():
        if protocol != "HTTP":
            continue
        url = f"http://127.0.0.1:{running_stack.environment[setting]}/"
        for path in ("", "metrics", "ping", "api/v1/query?query=up", "_stcore/health", "api/v2/version"):
            answer = httpx.get(url + path, headers={"Origin": "http://evil.example"}, timeout=10)
            assert "access-control-allow-origin" not in answer.headers, (setting, path)
            assert "access-control-allow-credentials" not in answer.headers, (setting, path)


def test_a_foreign_host_is_refused_where_the_table_says_so(running_stack: RunningStack) -> None:
    for setting, (_, protocol, _, host) in table().items():
        if protocol != "HTTP":
            continue
        path = {"CLICKHOUSE_PORT": "ping", "UI_PORT": "_stcore/health", "AIRFLOW_PORT": "api/v2/version"}.get(
            setting, "metrics"
        )
        url = f"http://127.0.0.1:{running_stack.environment[setting]}/{path}"
        refused = httpx.get(url, headers={"Host": "evil.example"}, timeout=10).status_code in {403, 421}
        assert refused == host.startswith("refused"), setting


def test_prometheus_takes_no_orders(running_stack: RunningStack) -> None:
    url = f"http://127.0.0.1:{running_stack.environment['PROMETHEUS_PORT']}"
    for path in ("/-/reload", "/-/quit", "/api/v1/admin/tsdb/snapshot", "/api/v1/write"):
        assert httpx.post(url + path, timeout=10).is_error, path
