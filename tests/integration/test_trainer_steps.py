"""What the trainer's command line writes down about its steps, and that writing it changes no step."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common import clickhouse, postgres
from services.common.migrations import (
    CLICKHOUSE_MIGRATIONS,
    POSTGRES_MIGRATIONS,
    migrate_clickhouse,
    migrate_postgres,
    read_migrations,
)
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.services import KafkaServer

AWAY = "postgresql://nobody@127.0.0.1:{port}/nowhere"


@dataclass
class Trainer:
    """The importer's and the trainer's command lines on migrated, empty stores."""

    dsn: str
    environment: dict[str, str]

    def __call__(self, *argv: str, program: str = "trainer", **changes: str) -> tuple[int, str]:
        """Return exit status and output."""
        done = subprocess.run(
            [sys.executable, "-m", f"services.{program}", *argv],
            env={**os.environ, **self.environment, **changes},
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def written(self) -> list[tuple[str, str, int]]:
        """Return run, step and exit status of what was written down, in order."""
        with postgres.connect(SecretStr(self.dsn)) as connection:
            rows = connection.execute("SELECT run_id, step, exit_status FROM trainer_steps ORDER BY finished_at")
            return [(run_id, step, status) for run_id, step, status in rows]


@pytest.fixture
def trainer(postgres_database: str, clickhouse_database: str, kafka: KafkaServer, tmp_path: Path) -> Trainer:
    with postgres.connect(SecretStr(postgres_database)) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
    client = clickhouse.connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    client.close()
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "CLICKHOUSE_URL": clickhouse_database,
        "POSTGRES_DSN": postgres_database,
        "MODEL_DIR": str(tmp_path / "models"),
        "RUNS_DIR": str(tmp_path / "runs"),
        "LANDING_DIR": str(tmp_path / "landing"),
    }
    (tmp_path / "models").mkdir()
    (tmp_path / "landing").mkdir()
    return Trainer(postgres_database, environment)


def test_every_step_is_written_down_however_it_ends(trainer: Trainer, tmp_path: Path) -> None:
    with postgres.connect(SecretStr(trainer.dsn)) as connection:
        connection.execute("INSERT INTO items (item_id, title) VALUES (1, 'Film 1')")
    (tmp_path / "landing" / "bad.csv").write_text("user_id,item_id,rating,timestamp\n1,1,nine,978300000\n")
    began = datetime.now(timezone.utc)
    assert trainer("import-files", program="importer")[0] == 5
    assert trainer("run", "--run-id", "one")[0] == 4, "its first step is refused, the others never begin"
    assert trainer("train", "--run-id", "one")[0] == 2
    assert trainer("prune", LANDING_DIR="")[0] == 0
    assert trainer("versions")[0] == 0, "not a step of any night"
    assert trainer.written() == [("", "import-files", 5), ("one", "check", 4), ("one", "train", 2), ("", "prune", 0)]
    with postgres.connect(SecretStr(trainer.dsn)) as connection:
        times = connection.execute("SELECT started_at, finished_at FROM trainer_steps ORDER BY finished_at").fetchall()
    assert all(began < started < finished for started, finished in times)


def test_a_missing_setting_is_written_down_too(trainer: Trainer) -> None:
    status, output = trainer("prune", MODEL_DIR="")
    assert (status, output) == (2, "settings: MODEL_DIR: Field required\n")
    assert trainer.written() == [("", "prune", 2)]


def test_a_database_that_is_away_changes_no_steps_exit_status(trainer: Trainer) -> None:
    away = AWAY.format(port=free_port())
    for dsn, warned in ((trainer.dsn, False), (away, True)):
        status, output = trainer("train", "--run-id", "one", POSTGRES_DSN=dsn)
        assert status == 2
        assert "run the step `extract` first" in output.splitlines()[-1], "the last line is still the result"
        assert ("could not record how the step ended" in output) == warned


def test_a_step_that_was_killed_is_written_down_by_whoever_saw_it(trainer: Trainer) -> None:
    began = datetime.now(timezone.utc).isoformat()
    ended = ("note-ended", "train", "--run-id", "one", "--status", "137", "--started-at", began)
    assert trainer(*ended)[0] == 0
    of_no_run = ("note-ended", "forget-files", "--status", "143", "--started-at", began)
    assert trainer(*of_no_run, program="importer")[0] == 0
    assert trainer.written() == [("one", "train", 137), ("", "forget-files", 143)]
