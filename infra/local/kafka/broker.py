"""One Apache Kafka broker and controller in one JVM (KRaft combined mode), for one machine."""

import base64
import os
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

LOG4J2 = Path(__file__).with_name("log4j2.xml")


@dataclass(frozen=True)
class Broker:
    """Where the broker keeps its files and listens; both ports on 127.0.0.1 only."""

    data: Path
    port: int
    controller_port: int
    heap_mb: int = 512

    @property
    def log_dir(self) -> Path:
        """The folder of the partitions' logs and of `meta.properties`."""
        return self.data / "logs"

    @property
    def config_file(self) -> Path:
        """The properties file, written anew at each start: ports may change, data stay."""
        return self.data / "server.properties"


def server_properties(broker: Broker) -> str:
    """The broker's configuration as a properties file."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{broker.controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},CONTROLLER://127.0.0.1:{broker.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(broker.log_dir),
        # A mistyped topic name must fail, not make a topic nobody reads.
        "auto.create.topics.enable": "false",
        # One broker holds the only replica of everything, internal topics too.
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Kafka acknowledges once the record is in the operating system's page cache. That outlives a SIGKILL of the
        # broker, which is what we promise for one machine; only a crash of the machine itself loses the unflushed
        # tail. Flushing every message (log.flush.interval.messages=1) would buy that at a tenth of the throughput;
        # a real cluster gets it from replication instead.
        "log.segment.bytes": str(64 * 2**20),
        "log.retention.hours": "168",
        # Members of the `consumer` group protocol (KIP-848) take these from the broker. The lower bounds let the
        # fault tests shorten them per group; the defaults notice a killed consumer in 10 s.
        "group.coordinator.rebalance.protocols": "classic,consumer",
        "group.consumer.session.timeout.ms": "10000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "1000",
        "group.consumer.min.heartbeat.interval.ms": "100",
        "group.min.session.timeout.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed is fenced until this old session ends; the default makes every restart wait 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
        "log.cleaner.threads": "1",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def java_argv(java: str, jars: Path, heap_mb: int, main_class: str, *args: str) -> list[str]:
    """The argv that runs `main_class` of the broker's jars with its logs on stdout."""
    return [
        java, f"-Xmx{heap_mb}m", f"-Xms{min(heap_mb, 128)}m",
        # One collector thread and the least memory: the broker shares the machine with everything else.
        "-XX:+UseSerialGC", "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={LOG4J2}",
        "-cp", f"{jars}/*", main_class, *args,
    ]  # fmt: skip


def prepare(broker: Broker, java: str, jars: Path) -> None:
    """Write the configuration and format the storage unless it is formatted already; existing data stay.

    Raises subprocess.CalledProcessError when Kafka's storage tool refuses (its output is on our stderr).
    """
    broker.log_dir.mkdir(parents=True, exist_ok=True)
    broker.config_file.write_text(server_properties(broker))
    if (broker.log_dir / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    subprocess.run(
        java_argv(
            java, jars, 256, "kafka.tools.StorageTool", "format", "--ignore-formatted",
            f"--cluster-id={cluster_id}", "--config", str(broker.config_file),
        ),
        check=True,
    )  # fmt: skip


def exec_broker(broker: Broker, java: str, jars: Path) -> None:
    """Become the broker: does not return, and the pid of this process is the broker's, so signals reach it."""
    os.execv(java, java_argv(java, jars, broker.heap_mb, "kafka.Kafka", str(broker.config_file)))  # noqa: S606
