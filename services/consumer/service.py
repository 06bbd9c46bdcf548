"""Runs the consumer: starts an ingestion, watches it, and starts another one when it has to be restarted."""

import logging
import os
import signal
import threading
from collections.abc import Mapping

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.admin import AdminClient

from services.common import clickhouse
from services.common.kafka import admin, client_config, ensure_topics
from services.common.metrics_server import Heartbeat
from services.common.waiting import wait_for
from services.consumer.breaker import Breaker
from services.consumer.commits import Commits
from services.consumer.ingestion import Ingestion
from services.consumer.membership import Place, RestartError
from services.consumer.metrics import Metrics
from services.consumer.settings import ConsumerSettings
from services.consumer.start import StartOffsets
from services.consumer.watch import Watch
from services.consumer.writer import Writer
from services.contracts.tables import QUARANTINE_VIEW

log = logging.getLogger(__name__)
client_log = logging.getLogger("librdkafka")
# Failing connections are retried many times a second; `_log_client_error` logs them once.
client_log.addFilter(lambda record: not record.getMessage().startswith("FAIL "))

RESTART_SECONDS = 1.0
LAST_RESORT_SECONDS = 3.0
"""Added to the time limit for storing after SIGTERM: then the process ends even if Kafka's client hangs."""


def consumer_config(settings: ConsumerSettings) -> dict[str, object]:
    """Return librdkafka's settings: no automatic commits, and a lost position is an error, never a reset."""
    config: dict[str, object] = {
        **client_config(settings.kafka_bootstrap_servers, "movierecs-consumer"),
        "group.id": settings.consumer_group,
        "group.protocol": settings.consumer_group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        # Offsets without a record (transactions) are skipped; the end of a partition reveals trailing ones.
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        # The prefetch limit per process: memory stays flat however long ClickHouse is down.
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.message.max.bytes": 2**20,
        "fetch.wait.max.ms": 50,
        "socket.timeout.ms": 10_000,
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    if settings.consumer_group_protocol == "classic":
        config |= {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10_000}
    return config


def connect(settings: ConsumerSettings) -> Client:
    """Return a ClickHouse client for one thread, which does not retry by itself: `Retrier` does."""
    return clickhouse.connect(
        settings.clickhouse_url,
        send_receive_timeout=settings.consumer_insert_timeout_seconds,
        query_retries=0,
        client_name="movierecs-consumer",
    )


class Service:
    """One consumer process. `stop` may be called at any time, also while it waits for Kafka or ClickHouse."""

    def __init__(
        self,
        settings: ConsumerSettings,
        metrics: Metrics,
        heartbeat: Heartbeat,
        *,
        only_bad: Mapping[Place, range] | None = None,
    ) -> None:
        """``only_bad``: see `Ingestion` and `set_aside`."""
        self._only_bad = only_bad
        self._settings = settings
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._ingestion: Ingestion | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Store what is held, commit, and let `run` return."""
        self._stopping.set()
        if self._ingestion is not None:
            self._ingestion.stop()

    def stop_on_signals(self) -> None:
        """Make SIGTERM and SIGINT stop the service within seconds; called once, from `main`."""

        def on_signal(number: int, _frame: object) -> None:
            log.info("stopping on %s", signal.Signals(number).name)
            timer = threading.Timer(self._settings.consumer_stop_seconds + LAST_RESORT_SECONDS, self._end_now)
            timer.daemon = True
            timer.start()
            if self._ingestion is None:  # waiting for Kafka or ClickHouse: there is nothing to store
                raise SystemExit(0)
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)

    @staticmethod
    def _end_now() -> None:
        log.warning("Kafka does not answer; exiting without leaving the group, which only causes redelivery")
        os._exit(0)

    def run(self) -> None:
        """Consume until `stop`.

        Raises:
            StopError, BreakerOpenError: a person has to look.
        """
        self._wait_for_stores()
        while not self._stopping.is_set():
            try:
                self._run_once()
            except RestartError as error:
                log.warning("restarting the ingestion: %s", error)
                self._stopping.wait(RESTART_SECONDS)
            finally:
                self._ingestion = None

    def _wait_for_stores(self) -> None:
        kafka = self._make_admin()
        made = wait_for("Kafka", lambda: ensure_topics(kafka, self._settings.topics))
        if made:
            log.info("created topics", extra={"topics": made})
        wait_for("ClickHouse and its tables", lambda: self._connect().query(f"DESCRIBE TABLE {QUARANTINE_VIEW}"))

    def _run_once(self) -> None:
        settings = self._settings
        commits = Commits()
        callbacks = {"error_cb": _log_client_error, "on_commit": commits.on_commit}
        consumer = Consumer({**consumer_config(settings), **callbacks}, logger=client_log)
        ingestion = Ingestion(
            consumer,
            settings.streams,
            commits=commits,
            starts=StartOffsets(self._make_admin, self._connect, settings.consumer_group),
            writer=Writer(self._connect, self._metrics, refresh_seconds=settings.consumer_erasure_refresh_seconds),
            breaker=Breaker(settings.breaker_limits),
            metrics=self._metrics,
            heartbeat=self._heartbeat,
            limits=settings.limits,
            held_rows=settings.consumer_held_rows,
            revoke_seconds=settings.consumer_revoke_seconds,
            stop_seconds=settings.consumer_stop_seconds,
            only_bad=self._only_bad,
        )
        watch = Watch(
            self._make_admin,
            self._connect,
            settings.consumer_group,
            self._metrics,
            audit_seconds=settings.consumer_audit_seconds,
            full_seconds=settings.consumer_audit_full_seconds,
        )
        self._ingestion = ingestion
        if self._stopping.is_set():  # between the check and now
            ingestion.stop()
        end_watch = watch.start(ingestion)
        try:
            ingestion.run()
        finally:
            end_watch()

    def _connect(self) -> Client:
        return connect(self._settings)

    def _make_admin(self) -> AdminClient:
        return admin(self._settings.kafka_bootstrap_servers)


def _log_client_error(error: KafkaError) -> None:
    """Log once that no broker answers; librdkafka logs each broken connection itself."""
    if error.code() == KafkaError._ALL_BROKERS_DOWN:
        log.warning("no broker answers; retrying")
    else:
        log.debug("Kafka's client: %s", error)
