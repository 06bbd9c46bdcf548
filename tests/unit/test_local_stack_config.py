"""The local stack's decisions: its settings, its `.env`, its supervisor configuration, its messages."""

import base64
import configparser
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from infra.local.env_file import ensure_env_file
from infra.local.environment import process_environment, service_environment
from infra.local.kafka.broker import Broker, server_properties
from infra.local.kafka.jars import maven_failure
from infra.local.ports import is_free, taken_ports
from infra.local.postgres.system_user import first_closed_folder
from infra.local.programs import Program, programs
from infra.local.settings import ROOT, StackSettings
from infra.local.supervisor import WITH_SECRETS, config_text, socket_path

_SECRETS = {
    "postgres_password": "pg",
    "clickhouse_password": "ch",
    "clickhouse_reader_password": "reads",
    "admin_api_key": "key",
    "airflow_admin_password": "air",
}


def _settings(**values: object) -> StackSettings:
    return StackSettings(_env_file=None, **{**_SECRETS, **values})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_addresses_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.endswith("_PORT") or name in {"KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL", "POSTGRES_DSN", "LOCAL_DIR"}:
            monkeypatch.delenv(name)


def test_a_missing_env_file_is_made_with_secrets_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "a.env", tmp_path / "b.env"

    generated = ensure_env_file(first, ROOT / ".env.example")
    ensure_env_file(second, ROOT / ".env.example")

    assert {"POSTGRES_PASSWORD", "ADMIN_API_KEY", "AIRFLOW_ADMIN_PASSWORD"} <= set(generated)
    assert first.stat().st_mode & 0o777 == 0o600
    values, others = dotenv_values(first), dotenv_values(second)
    for name in generated:
        assert len(values[name] or "") >= 20
        assert values[name] != others[name]
    assert len(base64.urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"] or "")) == 32
    assert values["KAFKA_PORT"] == "9092"


def test_an_env_file_keeps_what_it_says_and_gains_only_missing_secrets(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("# mine\nexport POSTGRES_PASSWORD='chosen'\nADMIN_API_KEY=\nKAFKA_PORT=1234\n")

    generated = ensure_env_file(env, ROOT / ".env.example")

    assert {"ADMIN_API_KEY", "AIRFLOW_ADMIN_PASSWORD"} <= set(generated)
    assert "POSTGRES_PASSWORD" not in generated
    values = dotenv_values(env)
    assert (values["POSTGRES_PASSWORD"], values["KAFKA_PORT"]) == ("chosen", "1234")
    assert env.read_text().startswith("# mine\n")
    assert ensure_env_file(env, ROOT / ".env.example") == []


def test_every_port_and_secret_of_the_settings_is_in_the_example_with_the_same_default() -> None:
    example = dotenv_values(ROOT / ".env.example")
    for name, field in StackSettings.model_fields.items():
        if name.endswith("_port"):
            assert example[name.upper()] == str(field.default), name
        if field.annotation is SecretStr and field.is_required():
            assert example[name.upper()] == "GENERATED", name


def test_two_settings_with_one_port_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="UI_PORT and INFERENCE_PORT are both 7000"):
        _settings(inference_port=7000, ui_port=7000)


def test_a_secret_has_no_default() -> None:
    with pytest.raises(ValidationError, match="admin_api_key"):
        StackSettings(_env_file=None, **{k: v for k, v in _SECRETS.items() if k != "admin_api_key"})  # type: ignore[arg-type]


def test_a_service_given_by_address_is_used_as_it_is_and_not_started() -> None:
    settings = _settings(kafka_bootstrap_servers="broker:9092", postgres_dsn="postgresql://u:p@db/x")

    assert set(programs(settings, "/nowhere")) == {
        "clickhouse",
        "inference",
        "consumer",
        "exporter",
        "probe",
        "ui",
        "airflow",
    }
    environment = service_environment(settings)
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "broker:9092"
    assert environment["POSTGRES_DSN"] == "postgresql://u:p@db/x"
    assert environment["CLICKHOUSE_URL"] == "http://movierecs:ch@127.0.0.1:8123/default"


def _executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_monitoring_runs_where_its_programs_are_found_and_is_left_out_elsewhere(tmp_path: Path) -> None:
    settings = _settings()
    without = programs(settings, str(tmp_path))
    assert not {"prometheus", "statsd-exporter"} & set(without)
    assert not any("STATSD" in name for name in without["airflow"].environment)

    found = {name: _executable(tmp_path / name) for name in ("prometheus", "statsd_exporter")}
    both = programs(settings, str(tmp_path))

    assert set(both) - set(without) == {"prometheus", "statsd-exporter"}
    assert both["prometheus"].argv[0] == str(found["prometheus"])
    assert both["statsd-exporter"].argv[0] == str(found["statsd_exporter"])
    airflow = both["airflow"].environment
    assert airflow["AIRFLOW__METRICS__STATSD_ON"] == "True"
    sent_to = f"{airflow['AIRFLOW__METRICS__STATSD_HOST']}:{airflow['AIRFLOW__METRICS__STATSD_PORT']}"
    assert f"--statsd.listen-udp={sent_to}" in both["statsd-exporter"].argv


def test_the_stacks_own_address_in_the_environment_does_not_make_it_somebody_elses() -> None:
    own = _settings(kafka_bootstrap_servers="127.0.0.1:9092")
    assert own.external == {}
    assert "kafka" in programs(own, "/bin")


def test_the_shell_wins_over_the_env_file_and_the_env_file_reaches_the_services(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nDATASET=ml-1m\nUI_PORT=7001\n")
    settings = StackSettings(root=tmp_path, _env_file=tmp_path / ".env", **_SECRETS)  # type: ignore[arg-type]

    environment = process_environment(settings, {"LOG_LEVEL": "ERROR"})

    assert (environment["LOG_LEVEL"], environment["DATASET"]) == ("ERROR", "ml-1m")
    assert environment["UI_URL"] == "http://127.0.0.1:7001"


def test_the_supervisor_reads_back_what_the_program_table_says(tmp_path: Path) -> None:
    odd = Program("odd", ("run", "two words", "100%"), "", stop_signal="INT", stop_seconds=7, environment={"A": "5%"})
    parser = configparser.RawConfigParser()
    parser.read_string(config_text([odd], tmp_path, tmp_path / "state", as_root=True))

    section = parser["program:odd"]
    assert shlex.split(section["command"].replace("%%", "%")) == ["run", "two words", "100%"]
    assert section["environment"] == 'A="5%%"'
    assert (section["stopsignal"], section["stopwaitsecs"]) == ("INT", "7")
    assert section["autorestart"] == "true"
    assert section["stdout_logfile"] == str(tmp_path / "state" / "logs" / "odd.log")
    assert parser["supervisord"]["user"] == "root"


def test_no_secret_is_written_to_the_supervisors_configuration() -> None:
    settings = _settings(postgres_password="pg-secret", admin_api_key="api-secret", airflow_admin_password="af-secret")
    text = config_text(programs(settings, "/bin").values(), ROOT, settings.state, as_root=False)
    assert "-secret" not in text
    assert "user=" not in text


def test_each_program_gets_the_secrets_it_needs_and_nothing_else_carries_one(tmp_path: Path) -> None:
    values = {name: f"{name}-secret" for name in _SECRETS}
    (tmp_path / ".env").write_text("".join(f"{name.upper()}={value}\n" for name, value in values.items()))
    settings = StackSettings.load(tmp_path)
    shell = {"POSTGRES_DSN": "postgresql://u:-secret@db/x", "GRAFANA_ADMIN_PASSWORD": "-secret", "HOME": "/home/me"}

    shared = process_environment(settings, shell)

    assert shared["HOME"] == "/home/me"
    assert not [name for name, value in shared.items() if "-secret" in value]
    every = programs(settings, "/bin")
    assert {name: set(program.secrets) for name, program in every.items() if program.secrets} == {
        "clickhouse": {"CLICKHOUSE_PASSWORD", "CLICKHOUSE_READER_PASSWORD"},
        "postgres": {"POSTGRES_PASSWORD"},
        "inference": {"CLICKHOUSE_URL", "POSTGRES_DSN", "ADMIN_API_KEY"},
        "consumer": {"CLICKHOUSE_URL"},
        "exporter": {"CLICKHOUSE_URL", "POSTGRES_DSN"},
        "airflow": {"CLICKHOUSE_URL", "POSTGRES_DSN"},
    }
    assert every["exporter"].secrets["CLICKHOUSE_URL"].startswith("http://reader:")
    for program, role in {"inference": "inference", "exporter": "exporter", "airflow": "trainer"}.items():
        assert every[program].secrets["POSTGRES_DSN"].startswith(f"postgresql://{role}:")


def test_a_program_starts_with_its_secrets_whatever_their_characters(tmp_path: Path) -> None:
    secret = "a\"b'c;d%(e)s #f\\ü\n"
    file = tmp_path / "with blanks.json"
    file.write_text(json.dumps({"SECRET": secret}))
    show = [sys.executable, "-c", "import os, sys; print(ascii(os.environ['SECRET']), sys.argv[1])", "two words"]
    started = subprocess.run(
        [sys.executable, "-I", str(WITH_SECRETS), str(file), *show], capture_output=True, text=True, check=True
    )
    assert started.stdout == f"{secret!a} two words\n"


def test_a_deep_checkout_still_has_a_control_socket_that_the_kernel_accepts() -> None:
    deep = Path("/home/someone") / ("a-rather-long-folder-name/" * 6) / ".local"
    assert socket_path(Path("/srv/x/.local")) == Path("/srv/x/.local/supervisor.sock")
    assert len(str(socket_path(deep))) < 100
    assert socket_path(deep) != socket_path(deep / "other")


def test_a_taken_port_names_itself_its_setting_and_its_holder() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        (taken,) = taken_ports([Program("ui", ("x",), "", {"UI_PORT": port})])
    message = str(taken)
    assert f"port {port}" in message
    assert "set another UI_PORT in .env" in message
    assert f"pid {os.getpid()} ({psutil.Process().name()})" in message
    assert is_free(port)


def test_a_folder_that_others_may_not_enter_is_found_on_the_way(tmp_path: Path) -> None:
    private = tmp_path / "private"
    inner = private / "data"
    inner.mkdir(parents=True)
    private.chmod(0o700)
    tmp_path.chmod(0o755)
    uid = private.stat().st_uid
    assert first_closed_folder([inner], uid + 1, private.stat().st_gid + 1) in [private, *private.parents]
    assert private not in {first_closed_folder([inner], uid, private.stat().st_gid)}


def test_the_broker_makes_no_topics_by_itself_and_keeps_one_replica_of_its_own() -> None:
    lines = server_properties(Broker(Path("/d"), 1, 2)).splitlines()
    assert "auto.create.topics.enable=false" in lines
    assert "offsets.topic.replication.factor=1" in lines
    assert "listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2" in lines


def test_mavens_reason_is_told_without_its_advice() -> None:
    output = (
        "\x1b[0m\x1b[0m[ERROR] Could not transfer artifact kafka: connection refused -> [Help 1]\n[ERROR] \n"
        "[ERROR] Re-run Maven using the -X switch to enable full debug logging.\n[ERROR] [Help 1] http://wiki/\n"
    )
    assert maven_failure(output).splitlines()[1:2] == [
        "[ERROR] Could not transfer artifact kafka: connection refused -> [Help 1]"
    ]
    assert "Re-run" not in maven_failure(output)
    assert "Maven printed nothing" in maven_failure("")
