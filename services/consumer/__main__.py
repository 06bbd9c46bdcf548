"""``python -m services.consumer [run|bootstrap|set-aside|replay|audit]``: Kafka to ClickHouse, each event once."""

import argparse
import logging
import sys
from datetime import datetime, timezone

from confluent_kafka import KafkaException, Producer

from services.common import audit, kafka
from services.common.metrics_server import Heartbeat, serve
from services.common.telemetry import configure_logging
from services.common.tracing import configure_tracing
from services.consumer.bootstrap import bootstrap
from services.consumer.breaker import BreakerOpenError
from services.consumer.decode import Reason
from services.consumer.errors import StopError
from services.consumer.metrics import Metrics
from services.consumer.replay import replay
from services.consumer.service import Service, connect
from services.consumer.set_aside import set_aside
from services.consumer.settings import ConsumerSettings
from services.consumer.start import GapError

log = logging.getLogger("services.consumer")

EXIT_INCOMPLETE, EXIT_MISSING, EXIT_BREAKER, EXIT_GAP, EXIT_STOPPED = 1, 1, 3, 4, 5
"""Exit statuses: a command did not complete, or the audit found something missing; the breaker is open; records are
gone; the schema is not as expected."""


LEAD_OUT = (
    "If the decoder is wrong, deploy a corrected one; if the records are bad: python -m services.consumer set-aside"
)


def main() -> int:
    """Parse, wire, run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.consumer", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="consume until SIGTERM (the default)")
    boot = commands.add_parser("bootstrap", help="create the topics and commit the first offsets")
    boot.add_argument(
        "--accept-gap", action="store_true", help="record missing records as lost, and continue after them"
    )
    aside = commands.add_parser(
        "set-aside", help="after status 3: quarantine the bad records at the committed offsets, and no others"
    )
    aside.add_argument("--dry-run", action="store_true", help="only list them")
    again = commands.add_parser("replay", help="produce quarantined records that decode now once more")
    again.add_argument("--reason", choices=[reason.value for reason in Reason], help="only those with this reason")
    again.add_argument("--dry-run", action="store_true", help="count only")
    commands.add_parser("audit", help="compare committed offsets with stored ones; status 1 if any is missing")
    args = parser.parse_args()

    settings = ConsumerSettings.from_environment()
    configure_logging("consumer", settings.log_level)
    configure_tracing("consumer")
    try:
        match args.command:
            case "bootstrap":
                return _bootstrap(settings, accept_gap=args.accept_gap)
            case "set-aside":
                done = set_aside(settings, kafka.admin(settings.kafka_bootstrap_servers), dry_run=args.dry_run)
                return 0 if done else EXIT_INCOMPLETE
            case "replay":
                return _replay(settings, args.reason, dry_run=args.dry_run)
            case "audit":
                return _audit(settings)
            case _:
                return _run(settings)
    except BreakerOpenError as error:
        log.critical(
            "stopped by the quarantine's breaker, nothing of the block is stored or committed: %s. %s", error, LEAD_OUT
        )
        return EXIT_BREAKER
    except GapError as error:
        log.critical("stopped: %s", error)
        return EXIT_GAP
    except StopError as error:
        log.critical("stopped: %s", error)
        return EXIT_STOPPED


def _run(settings: ConsumerSettings) -> int:
    metrics, heartbeat = Metrics(), Heartbeat()
    if settings.consumer_metrics_port:
        serve(metrics.registry, heartbeat, settings.metrics_host, settings.consumer_metrics_port, settings.host_names)
    service = Service(settings, metrics, heartbeat)
    service.stop_on_signals()
    service.run()
    return 0


def _bootstrap(settings: ConsumerSettings, *, accept_gap: bool) -> int:
    admin = kafka.admin(settings.kafka_bootstrap_servers)
    starts = bootstrap(
        admin, lambda: connect(settings), settings.consumer_group, settings.topics, accept_gap=accept_gap
    )
    log.info("bootstrapped", extra={"offsets": starts})
    return 0


def _replay(settings: ConsumerSettings, reason: str | None, *, dry_run: bool) -> int:
    producer = Producer(
        {**kafka.client_config(settings.kafka_bootstrap_servers, "movierecs-replay"), "enable.idempotence": True}
    )
    done = replay(connect(settings), producer, settings.streams, reason=reason, dry_run=dry_run)
    counts = {"produced": done.produced, "still_bad": done.still_bad, "refused": done.refused}
    log.info("replayed", extra={**counts, "dry_run": dry_run})
    return EXIT_INCOMPLETE if done.refused else 0


def _audit(settings: ConsumerSettings) -> int:
    admin = kafka.admin(settings.kafka_bootstrap_servers)
    client = connect(settings)
    total = unseen = 0
    for spec in settings.topics:
        try:
            topic = kafka.describe_topic(admin, spec.name)
        except KafkaException as error:  # still audit the other topic
            log.error("cannot audit %s: %s", spec.name, error)  # noqa: TRY400
            unseen += 1
            continue
        committed = kafka.committed_offsets(admin, settings.consumer_group, topic)
        until = {p: c.offset for p, c in committed.items() if c.is_for(topic)}
        findings = audit.audit(client, topic.epoch, until, audit.first_offsets(client, topic))
        audit.note_findings(
            client, topic.name, topic.epoch, scope="full", findings=findings, now=datetime.now(timezone.utc)
        )
        total += sum(finding.missing for finding in findings)
        log.info("audited", extra={"topic": topic.name, "missing": {f.partition: f.missing for f in findings}})
    return EXIT_MISSING if total or unseen else 0


if __name__ == "__main__":
    sys.exit(main())
