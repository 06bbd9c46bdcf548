"""The DAG run in Airflow: what it calls, in which order, and what a failing step does to the rest.

The trainer's command is replaced by one that notes its arguments; the run with the real trainer is
in the end-to-end test.
"""

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import RunPython
from tests.support.ports import free_port

TIDYING = ["import-files", "forget-files", "forget", "prune"]
STEPS = [*TIDYING, "check", "extract", "train", "evaluate", "publish", "promote"]
VERSION = "20261121T030000Z-abcd"


@dataclass
class Replica:
    """An HTTP server that answers as the inference service does to the DAG's one question."""

    body: bytes = json.dumps({"version": VERSION}).encode()
    status: int = 200
    old_answers: int = 0
    """How often it still serves the model before."""
    hangs: bool = False
    """Sends a byte now and then and never ends."""
    calls: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str) -> tuple[int, bytes]:
        self.calls.append(f"{method} {path}")
        if self.old_answers:
            self.old_answers -= 1
            return 200, b'{"version": "old"}'
        return self.status, self.body


def _serve(replica: Replica, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            status, body = replica.answer(self.command, self.path)
            self.send_response(status)
            self.end_headers()
            with suppress(OSError):  # whoever asked has hung up
                while replica.hangs:
                    self.wfile.write(b" ")
                    time.sleep(0.2)
                self.wfile.write(body)

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
        *,
        conf: dict[str, Any] | None = None,
        hanging: str = "",
        timeout_seconds: str = "",
        output: dict[str, str] | None = None,
        killed: dict[str, int] | None = None,
    ) -> Outcome:
        recorded, result = tmp_path / "argv.jsonl", tmp_path / "result.json"
        recorder = Path(__file__).with_name("record_argv.py")
        env = {
            "IMPORTER_COMMAND": shlex.join([sys.executable, str(recorder)]),
            "TRAINER_COMMAND": shlex.join([sys.executable, str(recorder)]),
            "INFERENCE_URL": ",".join(url for _, url in replicas),
            "RECORDED_ARGV": str(recorded),
            "PLANNED_STATUS": json.dumps(planned or {}),
            "PROMOTED_VERSION": VERSION,
            "HANGING_STEP": hanging,
            "ODD_OUTPUT": json.dumps(output or {}),
            "KILLED_STEP": json.dumps(killed or {}),
        }
        arguments = ["retrain_nightly", str(result), json.dumps(conf or {}), timeout_seconds]
        done = run_in_airflow("run_dag.py", *arguments, env=env)
        log = done.stdout + done.stderr
        assert result.exists(), log
        answer = json.loads(result.read_text())
        calls = [json.loads(line) for line in recorded.read_text().splitlines()] if recorded.exists() else []
        return Outcome(answer["state"], answer["tasks"], [c["argv"] for c in calls], [c["pid"] for c in calls], log)

    return run


def test_a_good_night_calls_each_step_once_with_one_run_id_and_asks_every_replica(
    run_dag: Any, replicas: list[tuple[Replica, str]]
) -> None:
    outcome = run_dag()
    assert outcome.state == "success", outcome.log
    assert [argv[0] for argv in outcome.argv] == STEPS
    assert all(argv[1:] == [] for argv in outcome.argv if argv[0] in TIDYING)
    run_ids = {tuple(argv[1:]) for argv in outcome.argv if argv[0] not in TIDYING}
    assert len(run_ids) == 1
    option, run_id = run_ids.pop()
    assert option == "--run-id"
    assert set(run_id) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    for replica, _ in replicas:
        assert replica.calls == ["GET /v1/models/current"], "and nothing that needs the admin key"


def test_a_refused_gate_fails_the_run_at_once_and_leaves_the_replicas_alone(
    run_dag: Any, replicas: list[tuple[Replica, str]]
) -> None:
    outcome = run_dag(planned={"promote": [3, 3, 3, 3]})
    assert outcome.state == "failed"
    assert outcome.tasks["promote"] == "failed"
    assert outcome.tasks["verify"] == "upstream_failed"
    assert {outcome.tasks[name] for name in ("forget_files", "forget", "prune")} == {"success"}, (
        "whatever the gate says"
    )
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
    assert [argv[0] for argv in outcome.argv] == [*TIDYING, "check", "extract", "extract", *STEPS[6:]]
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


def test_a_replica_that_takes_its_time_to_load_is_asked_again(
    run_dag: Any, replicas: list[tuple[Replica, str]]
) -> None:
    replicas[1][0].old_answers = 2
    outcome = run_dag()
    assert outcome.state == "success", outcome.log
    assert len(replicas[1][0].calls) == 3


def test_a_step_that_takes_too_long_is_ended_with_its_task(run_dag: Any) -> None:
    outcome = run_dag(hanging="train", timeout_seconds="3")
    assert outcome.tasks["train"] == "failed", outcome.log
    assert outcome.tasks["evaluate"] == "upstream_failed"
    assert [argv[0] for argv in outcome.argv[-2:]] == ["train", "note-ended"]
    assert outcome.argv[-1][-3] == "143"
    with pytest.raises(ProcessLookupError):
        os.kill(outcome.pids[-2], 0)


def test_every_replica_behind_one_name_is_verified(run_in_airflow: RunPython) -> None:
    first, second = Replica(), Replica(old_answers=1)
    one = _serve(first)
    port = one.server_address[1]
    two = _serve(second, "127.0.0.2", port)

    done = run_in_airflow("verify_by_name.py", VERSION, "10", env={"INFERENCE_URL": f"http://inference:{port}"})
    for server in (one, two):
        server.shutdown()
        server.server_close()

    assert done.returncode == 0, done.stderr
    assert (len(first.calls), len(second.calls)) == (1, 2)


def test_replicas_that_hang_or_answer_nonsense_hide_nothing_of_the_others(run_in_airflow: RunPython) -> None:
    made = {
        "well": Replica(),
        "hangs": Replica(hangs=True),
        "old": Replica(old_answers=10_000),
        "bytes": Replica(body=b"\xff\xfe{"),
        "list": Replica(body=b"[1]"),
        "deep": Replica(body=b"[" * 50_000),
        "digits": Replica(body=b'{"version": ' + b"1" * 50_000 + b"}"),
        "huge": Replica(body=b" " * 10_000_000),
        "moved": Replica(status=302),
        "refused": Replica(status=503, body="trüb".encode("latin-1")),
    }
    servers = {name: _serve(replica) for name, replica in made.items()}
    urls = {name: f"http://127.0.0.1:{server.server_address[1]}" for name, server in servers.items()}
    urls |= {"away": f"http://127.0.0.1:{free_port()}", "no name": "http://no.such.host.invalid:1"}
    try:
        done = run_in_airflow("verify_by_name.py", VERSION, "4", env={"INFERENCE_URL": ",".join(urls.values())})
    finally:
        for replica, server in zip(made.values(), servers.values(), strict=True):
            replica.hangs = False
            server.shutdown()
            server.server_close()
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert f"promoted {VERSION}, but" in said
    for name, url in urls.items():
        assert (url in said) == (name != "well"), name
    assert f"{urls['old']}': 'old'" in said
    assert "503 tr" in said
    assert f"{urls['hangs']}': 'no answer yet'" in said


def test_whatever_a_step_prints_it_goes_on_and_its_version_is_found(run_dag: Any) -> None:
    outcome = run_dag(
        output={
            "import-files": "latin-1", "extract": "megabyte", "train": "brackets", "evaluate": "digits",
            "publish": "nul", "promote": "no end",
        }
    )  # fmt: skip
    assert outcome.state == "success", outcome.log
    assert [argv[0] for argv in outcome.argv] == STEPS, "each once"
    assert "caf\ufffd" in outcome.log or "caf\\ufffd" in outcome.log
    assert "(cut off)" in outcome.log
    assert len(outcome.log) < 1_000_000


def test_a_step_that_is_killed_is_named_tried_again_and_written_down(run_dag: Any) -> None:
    outcome = run_dag(killed={"extract": 1, "forget": 4})
    assert outcome.tasks["forget"] == "failed"
    assert outcome.state == "success", "the night goes on"
    assert "ended by signal 9 (SIGKILL)" in outcome.log
    notes = [argv for argv in outcome.argv if argv[0] == "note-ended"]
    of_extract = [argv for argv in notes if argv[1] == "extract"]
    (run_id,) = {argv[2] for argv in outcome.argv if argv[0] == "train"}
    assert [(argv[2:4], argv[4:6]) for argv in of_extract] == [(["--run-id", run_id], ["--status", "137"])]
    assert [argv[2:4] for argv in notes if argv[1] == "forget"] == [["--status", "137"]] * 4
