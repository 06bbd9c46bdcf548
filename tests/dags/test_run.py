"""The DAG run in Airflow: what it calls, in which order, and what a failing step does to the rest.

The trainer's command is replaced by one that notes its arguments; the run with the real trainer is
in the end-to-end test.
"""

import json
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import RunPython

STEPS = ["import-files", "check", "extract", "train", "evaluate", "publish", "promote", "prune"]
OF_NO_RUN = {"import-files", "prune"}
ADMIN_KEY = "the-key"
VERSION = "20261121T030000Z-abcd"


@dataclass
class Replica:
    """An HTTP server that answers as the inference service does to the two calls of the DAG."""

    serves: str = "old"
    loads: str = VERSION
    failures: int = 0
    calls: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, key: str | None) -> tuple[int, dict[str, Any]]:
        self.calls.append(f"{method} {path}")
        if path == "/v1/models/reload":
            if key != ADMIN_KEY:
                return 403, {"title": "Forbidden"}
            if self.failures:
                self.failures -= 1
                return 503, {"title": "Service Unavailable"}
            self.serves = self.loads
        return 200, {"version": self.serves}


def _serve(replica: Replica, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            status, body = replica.answer(self.command, self.path, self.headers.get("X-Admin-Key"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST = _reply  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def replicas() -> Iterator[list[tuple[Replica, str]]]:
    """Two replicas with their addresses."""
    made = [Replica(), Replica()]
    servers = [_serve(replica) for replica in made]
    yield [(r, f"http://127.0.0.1:{s.server_address[1]}") for r, s in zip(made, servers, strict=True)]
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass
class Outcome:
    """What a run left behind."""

    state: str
    tasks: dict[str, str]
    argv: list[list[str]]
    pids: list[int]
    log: str


@pytest.fixture
def run_dag(run_in_airflow: RunPython, replicas: list[tuple[Replica, str]], tmp_path: Path) -> Any:
    def run(
        planned: dict[str, list[int]] | None = None,
        conf: dict[str, Any] | None = None,
        hanging: str = "",
        timeout_seconds: str = "",
    ) -> Outcome:
        recorded, result = tmp_path / "argv.jsonl", tmp_path / "result.json"
        recorder = Path(__file__).with_name("record_argv.py")
        env = {
            "TRAINER_COMMAND": shlex.join([sys.executable, str(recorder)]),
            "INFERENCE_URL": ",".join(url for _, url in replicas),
            "ADMIN_API_KEY": ADMIN_KEY,
            "RECORDED_ARGV": str(recorded),
            "PLANNED_STATUS": json.dumps(planned or {}),
            "PROMOTED_VERSION": VERSION,
            "HANGING_STEP": hanging,
        }
        arguments = ["retrain_nightly", str(result), json.dumps(conf or {}), timeout_seconds]
        done = run_in_airflow("run_dag.py", *arguments, env=env)
        log = done.stdout + done.stderr
        assert result.exists(), log
        answer = json.loads(result.read_text())
        calls = [json.loads(line) for line in recorded.read_text().splitlines()]
        return Outcome(answer["state"], answer["tasks"], [c["argv"] for c in calls], [c["pid"] for c in calls], log)

    return run


def test_a_good_night_calls_each_step_once_with_one_run_id_and_reloads_every_replica(
    run_dag: Any, replicas: list[tuple[Replica, str]]
) -> None:
    outcome = run_dag()
    assert outcome.state == "success", outcome.log
    assert [argv[0] for argv in outcome.argv] == STEPS
    assert all(argv[1:] == [] for argv in outcome.argv if argv[0] in OF_NO_RUN)
    run_ids = {tuple(argv[1:]) for argv in outcome.argv if argv[0] not in OF_NO_RUN}
    assert len(run_ids) == 1
    option, run_id = run_ids.pop()
    assert option == "--run-id"
    assert set(run_id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    for replica, _ in replicas:
        assert replica.serves == VERSION
        assert replica.calls[0] == "POST /v1/models/reload"


def test_a_refused_gate_fails_the_run_at_once_and_leaves_the_replicas_alone(
    run_dag: Any, replicas: list[tuple[Replica, str]]
) -> None:
    outcome = run_dag(planned={"promote": [3, 3, 3, 3]})
    assert outcome.state == "failed"
    assert outcome.tasks["promote"] == "failed"
    assert outcome.tasks["reload"] == outcome.tasks["verify"] == outcome.tasks["prune"] == "upstream_failed"
    assert [argv[0] for argv in outcome.argv].count("promote") == 1, "a verdict is not retried"
    assert "the gate refused the model" in outcome.log
    assert all(replica.calls == [] for replica, _ in replicas)


@pytest.mark.parametrize(("step", "status"), [("check", 4), ("extract", 2)])
def test_what_trying_again_cannot_mend_is_not_tried_again(run_dag: Any, step: str, status: int) -> None:
    outcome = run_dag(planned={step: [status] * 4})
    assert outcome.state == "failed"
    assert [argv[0] for argv in outcome.argv] == STEPS[: STEPS.index(step) + 1]


def test_a_step_that_fails_once_is_tried_again_and_the_run_goes_on(run_dag: Any) -> None:
    outcome = run_dag(planned={"extract": [1]})
    assert [argv[0] for argv in outcome.argv] == ["import-files", "check", "extract", "extract", *STEPS[3:]]
    assert outcome.state == "success", outcome.log


def test_refused_files_show_at_once_and_the_models_are_trained_all_the_same(run_dag: Any) -> None:
    outcome = run_dag(planned={"import-files": [5] * 4})
    assert outcome.tasks == {"import_files": "failed"} | dict.fromkeys(set(outcome.tasks) - {"import_files"}, "success")
    assert [argv[0] for argv in outcome.argv] == STEPS, "a verdict is not retried"
    assert "files were refused" in outcome.log


def test_an_import_that_fails_for_a_moment_is_tried_again_first(run_dag: Any) -> None:
    outcome = run_dag(planned={"import-files": [1]})
    assert [argv[0] for argv in outcome.argv] == ["import-files", *STEPS]
    assert outcome.state == "success", outcome.log


def test_force_reaches_only_the_promotion(run_dag: Any) -> None:
    outcome = run_dag(conf={"force": True})
    assert outcome.state == "success", outcome.log
    assert [argv[0] for argv in outcome.argv if "--force" in argv] == ["promote"]


def test_a_replica_that_cannot_reload_at_first_is_asked_again(
    run_dag: Any, replicas: list[tuple[Replica, str]]
) -> None:
    replicas[1][0].failures = 1
    outcome = run_dag()
    assert outcome.state == "success", outcome.log
    assert replicas[1][0].serves == VERSION


def test_a_step_that_takes_too_long_is_ended_with_its_task(run_dag: Any) -> None:
    outcome = run_dag(hanging="train", timeout_seconds="3")
    assert outcome.tasks["train"] == "failed", outcome.log
    assert outcome.tasks["evaluate"] == "upstream_failed"
    assert outcome.argv[-1][0] == "train"
    with pytest.raises(ProcessLookupError):
        os.kill(outcome.pids[-1], 0)


def test_every_replica_behind_one_name_is_reloaded_and_verified(run_in_airflow: RunPython) -> None:
    first, second = Replica(), Replica()
    one = _serve(first)
    port = one.server_address[1]
    two = _serve(second, "127.0.0.2", port)

    done = run_in_airflow(
        "reload_by_name.py", VERSION, env={"INFERENCE_URL": f"http://inference:{port}", "ADMIN_API_KEY": ADMIN_KEY}
    )
    for server in (one, two):
        server.shutdown()
        server.server_close()

    assert done.returncode == 0, done.stderr
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"]
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(urls, VERSION)
    for replica in (first, second):
        assert replica.calls == ["POST /v1/models/reload", "GET /v1/models/current"]
