"""The local Kafka and PostgreSQL, and the stack that runs them: started, killed, restarted and stopped for real."""

import os
import pwd
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import psutil
import psycopg
import pytest
import yaml
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from psycopg import errors
from pydantic import SecretStr

from infra.local.environment import service_environment
from infra.local.kafka.jars import jars_folder
from infra.local.leftovers import stack_processes
from infra.local.readiness import http_body, kafka_answers, postgres_answers
from infra.local.secret_values import secret_names
from infra.local.settings import StackSettings
from infra.local.stack import Stack, StackError
from infra.local.status import status_table
from services.common import kafka
from services.common.postgres_roles import ROLES
from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess, wait_until
from tests.support.prometheus import Prometheus
from tests.support.services import JARS, KafkaServer, PostgresServer
from tests.support.tools import require_tool

_AS_ROOT = os.geteuid() == 0


def _produce(bootstrap: str, topic: str, values: list[bytes]) -> int:
    """Send `values` and return how many the broker has acknowledged."""
    acknowledged = 0

    def delivered(error: object, _: Message) -> None:
        nonlocal acknowledged
        assert error is None
        acknowledged += 1

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, key=value, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(30) == 0
    return acknowledged


def _consume(bootstrap: str, topic: str, group: str, count: int) -> list[bytes]:
    """Read `count` records as a member of `group` (KIP-848) and commit them."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer",
            "auto.offset.reset": "earliest", "enable.auto.commit": False,
        }
    )  # fmt: skip
    consumer.subscribe([topic])
    values: list[bytes] = []

    def enough() -> bool:
        for message in consumer.consume(500, timeout=0.5):
            assert message.error() is None, message.error()
            values.append(message.value() or b"")
        return len(values) >= count

    try:
        wait_until(enough, 40, f"{count} records of {topic}", every_seconds=0)
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return values


def test_acknowledged_records_and_committed_offsets_survive_a_sigkill_of_the_broker(own_kafka: KafkaServer) -> None:
    topic = own_kafka.create_topic(partitions=2)
    sent = [f"event-{n}".encode() for n in range(2_000)]
    assert _produce(own_kafka.bootstrap, topic, sent[:1_000]) == 1_000
    assert sorted(_consume(own_kafka.bootstrap, topic, "readers", 1_000)) == sorted(sent[:1_000])
    assert _produce(own_kafka.bootstrap, topic, sent[1_000:]) == 1_000

    own_kafka.kill9()
    assert not kafka_answers(own_kafka.bootstrap)
    own_kafka.restart()

    assert sorted(_consume(own_kafka.bootstrap, topic, "readers", 1_000)) == sorted(sent[1_000:])
    assert sorted(_consume(own_kafka.bootstrap, topic, "others", 2_000)) == sorted(sent)


def test_the_process_that_was_started_is_the_broker_and_sigterm_ends_it_in_order(own_kafka: KafkaServer) -> None:
    assert psutil.Process(own_kafka.process.pid).name() == "java"
    assert own_kafka.stop() == 128 + signal.SIGTERM  # how a JVM reports an orderly end on SIGTERM
    assert "shut down completed" in own_kafka.process.log_tail()


def test_a_frozen_broker_answers_again_once_thawed(own_kafka: KafkaServer) -> None:
    topic = own_kafka.create_topic(partitions=1)
    own_kafka.freeze()
    assert not kafka_answers(own_kafka.bootstrap)
    own_kafka.thaw()
    own_kafka.process.wait_ready(own_kafka.answers, 30)
    assert _produce(own_kafka.bootstrap, topic, [b"after"]) == 1


def test_a_topic_that_nobody_made_is_an_error_not_a_new_topic(kafka: KafkaServer) -> None:
    name = f"typo-{uuid.uuid4().hex[:8]}"
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "g"})
    try:
        with pytest.raises(KafkaException, match="Unknown partition"):
            consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=5)
        assert name not in consumer.list_topics(timeout=5).topics
    finally:
        consumer.close()


def test_the_in_memory_broker_serves_at_its_promised_port_and_says_what_it_is(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path, mock=True)
    try:
        server.start()
        topic = server.create_topic()
        assert _produce(server.bootstrap, topic, [b"a", b"b"]) == 2
        assert sorted(_consume(server.bootstrap, topic, "g", 2)) == [b"a", b"b"]
        assert "IN-MEMORY" in server.process.log_tail()
        # What the services ask of a broker at their start, this one cannot all answer: they must not hang on it.
        client = kafka.admin(server.bootstrap)
        assert kafka.ensure_topics(client, [kafka.TopicSpec(topic, 4, kafka.DAY_MS)]) == []
        assert kafka.describe_topic(client, topic).partitions == (0, 1, 2, 3)
        assert server.stop() == 0
    finally:
        server.close()


def test_postgres_has_vector_and_trigram_search(postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE EXTENSION pg_trgm")
        row = connection.execute("SELECT '[0,0]'::vector <-> '[3,4]', similarity('heat', 'heat')").fetchone()
        version = connection.info.server_version
    assert row == (5.0, 1.0)
    assert version >= 180_000


def test_postgres_lets_nobody_in_without_the_password(postgres: PostgresServer) -> None:
    for wrong in (
        postgres.dsn().replace(postgres.password, "wrong"),
        postgres.dsn().replace(f":{postgres.password}", ""),
    ):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong, connect_timeout=5)


def test_committed_rows_survive_a_sigkill_of_postgres_and_a_new_password_opens_the_old_data(
    own_postgres: PostgresServer,
) -> None:
    with psycopg.connect(own_postgres.dsn()) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 500)")

    own_postgres.kill9()
    own_postgres.password = own_postgres.process.env["POSTGRES_PASSWORD"] = "it's new"
    quoted = own_postgres.dsn().replace("it's new", "it%27s%20new")
    own_postgres.process.start().wait_ready(lambda: postgres_answers(quoted))

    connection = psycopg.connect(quoted)
    try:
        assert connection.execute("SELECT count(*), max(n) FROM kept").fetchone() == (500, 500)
        assert own_postgres.stop() == 0  # with a client still connected
    finally:
        connection.close()


def test_postgres_refuses_to_start_without_a_password_or_on_a_folder_in_use(own_postgres: PostgresServer) -> None:
    command = [*own_postgres.process.argv]
    log = own_postgres.process.log_file.with_name("second.log")
    without = ServiceProcess("postgres", command, log, env={"POSTGRES_PASSWORD": ""}).start()
    assert without.wait_ended() == 2
    assert "POSTGRES_PASSWORD is not set" in without.log_tail()
    second = ServiceProcess("postgres", command, log, env={"POSTGRES_PASSWORD": "x"}).start()
    assert second.wait_ended(30) == 1
    assert "already uses" in second.log_tail()
    assert own_postgres.answers()


@pytest.mark.skipif(not _AS_ROOT, reason="only root has another user to run the server as")
def test_root_runs_postgres_as_an_ordinary_user_even_below_a_private_folder(own_postgres: PostgresServer) -> None:
    assert psutil.Process(own_postgres.process.pid).uids().effective != 0
    assert any(folder.stat().st_mode & 0o077 == 0 for folder in own_postgres.process.log_file.parents)


@pytest.mark.skipif(not _AS_ROOT, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_runs_postgres_as_itself() -> None:
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(prefix="movierecs-nobody-"))
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    server = PostgresServer(folder)
    user = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--pdeathsig=keep"]
    # Read access everywhere: root's Python and checkout may well lie in root's own home.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    server.process.argv = [*user, *reading, *server.process.argv]
    server.process.env["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        server.start()
        assert psutil.Process(server.process.pid).uids().effective == nobody.pw_uid
        assert server.stop() == 0
    finally:
        server.close()
        shutil.rmtree(folder)


def test_the_services_roles_read_and_write_rows_and_change_nothing_else(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as owner:
        owner.execute("CREATE TABLE films (id int GENERATED ALWAYS AS IDENTITY, n bigserial, title text)")
    for role in ROLES:
        with psycopg.connect(postgres.dsn_of(role), autocommit=True) as connection:
            rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
            assert connection.execute(rights).fetchone() == (False,)
            assert connection.execute("SELECT count(*) >= 0 FROM films").fetchone() == (True,)
            for forbidden in (
                "CREATE TABLE mine (x int)",
                "DROP TABLE films",
                "TRUNCATE films",
                "COPY films (title) FROM '/etc/passwd'",
                "COPY films TO PROGRAM 'cat'",
                "SELECT pg_read_file('/etc/passwd')",
                "SELECT passwd FROM pg_shadow",
                "ALTER ROLE movierecs PASSWORD 'x'",
                "SET ROLE movierecs",
            ):
                with pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
                    connection.execute(forbidden.encode())
            (limit,) = connection.execute("SELECT current_setting('statement_timeout')").fetchone() or ("",)
            assert limit == ("0" if role == "trainer" else "10s")
            if role == "exporter":
                for setting in ("on", "off"):
                    connection.execute(f"SET default_transaction_read_only = {setting}".encode())
                    with pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
                        connection.execute("INSERT INTO films (title) VALUES ('x')")
            else:
                connection.execute("INSERT INTO films (title) VALUES ('x')")
    with psycopg.connect(postgres.dsn(), autocommit=True) as owner:
        owner.execute("DROP TABLE films")


def test_a_cluster_of_before_there_were_roles_gains_them_at_its_next_start(own_postgres: PostgresServer) -> None:
    with psycopg.connect(own_postgres.dsn(), autocommit=True) as owner:
        for role in ROLES:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert own_postgres.stop() == 0
    own_postgres.start()
    for role in ROLES:
        assert postgres_answers(own_postgres.dsn_of(role))


MakeStack = Callable[..., Stack]


@pytest.fixture
def make_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeStack]:
    """Make stacks of this test's own, sharing one state folder; all of it is down afterwards."""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL", "POSTGRES_DSN"):
        monkeypatch.delenv(name, raising=False)
    state = tmp_path / "state"
    ports = {name: free_port() for name in StackSettings.model_fields if name.endswith("_port")}
    secrets = {
        name: f"s3cret-{name}-{uuid.uuid4()}"
        for name, field in StackSettings.model_fields.items()
        if field.annotation is SecretStr and field.is_required()
    }
    if jars_folder(JARS).is_dir():
        (state / "kafka").mkdir(parents=True)
        (state / "kafka" / jars_folder(JARS).name).symlink_to(jars_folder(JARS))

    def make(**changed: object) -> Stack:
        values = {"local_dir": state, **ports, **secrets, **changed}
        return Stack(StackSettings(_env_file=None, **values), os.environ)  # type: ignore[arg-type]

    yield make
    make().down()
    shutil.rmtree(state, ignore_errors=True)


def test_a_stack_comes_up_again_at_once_heals_and_goes_down_without_a_trace(
    make_stack: MakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = make_stack()
    stack.up(["kafka", "postgres"])
    before = {name: state.pid for name, state in stack.supervisor.states().items() if state.is_running}
    assert set(before) == {"kafka", "postgres"}

    stack.up(["kafka", "postgres"])  # a second time changes nothing
    assert {name: stack.supervisor.states()[name].pid for name in before} == before

    psutil.Process(before["kafka"]).kill()
    stack.supervisor.states()
    wait_until(lambda: stack.supervisor.states()["kafka"].pid not in {0, before["kafka"]}, 20, "kafka started again")
    stack.up(["kafka"])
    assert kafka_answers(stack.settings.kafka)

    table, all_up = status_table(stack)
    assert not all_up  # the others were never asked for
    assert "stopped" in next(line for line in table.splitlines() if line.startswith("airflow"))
    assert "s3cret" not in table + capsys.readouterr().out

    everyone = stack_processes(stack.state)
    assert len(everyone) >= 3
    assert stack.down() == []  # nobody had to be killed
    assert stack_processes(stack.state) == []
    assert not any(process.is_running() for process in everyone)


def test_a_stack_whose_supervisor_was_killed_is_cleared_and_started_again(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.up(["postgres"])
    orphan = psutil.Process(stack.supervisor.states()["postgres"].pid)
    supervisord = stack.supervisor.pid()
    assert supervisord is not None
    psutil.Process(supervisord).kill()
    wait_until(lambda: stack.supervisor.pid() is None, 10, "supervisord gone")
    assert orphan.is_running()

    stack.up(["postgres"])

    assert not orphan.is_running()
    assert postgres_answers(stack.settings.postgres)


def test_a_taken_port_starts_nothing_and_names_its_holder(make_stack: MakeStack, tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with ServiceProcess("holder", argv, tmp_path / "holder.log") as holder:
        holder.wait_ready(lambda: any(c.laddr.port == port for c in psutil.Process(holder.pid).net_connections()), 20)
        stack = make_stack(postgres_port=port)
        with pytest.raises(StackError, match=rf"port {port}.*pid {holder.pid} .*POSTGRES_PORT in \.env") as refusal:
            stack.up(["kafka", "postgres"])
    assert "nothing was started" in str(refusal.value)
    assert stack.supervisor.pid() is None
    assert stack_processes(stack.state) == []


def test_a_program_that_cannot_start_is_named_with_the_end_of_its_log(make_stack: MakeStack, tmp_path: Path) -> None:
    broken = tmp_path / "environment" / "bin" / "python"
    with pytest.raises(StackError, match=rf"{broken}, which starts airflow, does not exist"):
        make_stack(airflow_venv=tmp_path / "environment").up(["airflow"])

    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\necho no luck today\nexit 3\n")
    broken.chmod(0o755)
    stack = make_stack(airflow_venv=tmp_path / "environment")
    with pytest.raises(StackError, match=r"airflow does not start(.|\n)*no luck today(.|\n)*read .*airflow.log"):
        stack.up(["airflow"], timeout_seconds=60)


def test_changed_settings_are_not_taken_up_silently(make_stack: MakeStack) -> None:
    make_stack().up(["postgres"])
    with pytest.raises(StackError, match="settings have changed"):
        make_stack(ui_port=free_port()).up(["postgres"])


def test_the_stacks_clickhouse_wants_a_password_and_its_state_is_its_owners_alone(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.up(["clickhouse"])
    url = f"http://127.0.0.1:{stack.settings.clickhouse_port}/?query=SELECT%201"
    assert http_body(url) == ""
    for allowed in (stack.settings.clickhouse, stack.settings.clickhouse_reader):
        client = clickhouse_connect.get_client(dsn=allowed)
        assert client.command("SELECT 1") == 1
        client.close()
    assert stack.state.stat().st_mode & 0o777 == 0o700
    for file in [*(stack.state / "secrets").iterdir(), stack.state / "supervisord.conf"]:
        assert file.stat().st_mode & 0o077 == 0, file


def test_running_programs_carry_no_secret_but_those_that_they_were_given(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.up(["clickhouse", "postgres", "consumer", "probe", "ui"], timeout_seconds=120)
    values = {str(value) for name, value in service_environment(stack.settings).items() if name in secret_names()}
    values |= {value for program in stack.programs.values() for value in program.secrets.values()}
    assert len(values) >= 6
    states = stack.supervisor.states()
    supervisord = stack.supervisor.pid()
    seen = {"supervisord": supervisord} | {name: state.pid for name, state in states.items() if state.pid}
    assert len(seen) == 6
    for name, pid in seen.items():
        assert pid is not None
        given = " ".join(stack.programs[name].secrets.values()) if name in stack.programs else ""
        others = [secret for secret in values if secret not in given]
        environment = psutil.Process(pid).environ()
        leaked = [variable for variable, value in environment.items() for secret in others if secret in value]
        assert not leaked, f"{name} carries {leaked}"


def test_clean_deletes_the_stacks_state_and_never_anything_else(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(local_dir=tmp_path / "with blanks")
    stack.up(["clickhouse"])
    precious = stack.state / "thesis.txt"
    precious.write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "models").mkdir(parents=True)
    (stack.state / "landing").symlink_to(elsewhere)

    assert stack.clean() == ["thesis.txt"]

    assert [entry.name for entry in stack.state.iterdir()] == ["thesis.txt"]
    assert (elsewhere / "models").is_dir()
    assert stack_processes(stack.state) == []
    precious.unlink()
    with pytest.raises(StackError, match="with blanks is not the state folder of a stack; nothing was deleted"):
        stack.clean()
    for folder in (elsewhere, ROOT):
        with pytest.raises(StackError, match="is not the state folder of a stack"):
            make_stack(local_dir=folder).clean()
    assert (elsewhere / "models").is_dir()


def test_a_name_that_is_no_program_is_refused(make_stack: MakeStack) -> None:
    with pytest.raises(StackError, match="no such program: postgers"):
        make_stack().up(["postgers"])


def test_prometheus_runs_on_the_shared_rules_and_knows_who_is_up(make_stack: MakeStack) -> None:
    require_tool("prometheus")
    require_tool("statsd_exporter")
    stack = make_stack(prometheus_interval_seconds=1)

    stack.up(["statsd-exporter", "prometheus"])

    prometheus = Prometheus(stack.programs["prometheus"].address)
    running = {
        f"prometheus 127.0.0.1:{stack.settings.prometheus_port}": "up",
        f"airflow 127.0.0.1:{stack.settings.statsd_exporter_port}": "up",
    }
    stopped = {f"inference 127.0.0.1:{stack.settings.inference_port}": "down"}
    wait_until(lambda: (running | stopped).items() <= prometheus.targets().items(), 30, "every target was scraped")
    written = [rule for file in (ROOT / "infra" / "prometheus" / "rules").glob("*.yml") for rule in _rules(file)]
    assert len(prometheus.rules()) == len(written) > 0


def _rules(file: Path) -> list[object]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
