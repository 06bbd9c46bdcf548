"""`python -m infra.local.kafka --data DIR --port P --controller-port C`: one Kafka broker in the foreground."""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

from infra.local.kafka.broker import Broker, exec_broker, prepare
from infra.local.kafka.jars import JarsUnavailableError, ensure_jars, jars_folder, java_and_maven


def main() -> int:
    """Become an Apache Kafka broker; without Java (or the jars and Maven), serve librdkafka's in-memory one."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.kafka", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the broker's own folder; made when missing")
    parser.add_argument("--port", type=int, required=True, help="clients connect here, on 127.0.0.1")
    parser.add_argument("--controller-port", type=int, required=True, help="KRaft's own traffic, on 127.0.0.1")
    parser.add_argument("--libs", type=Path, default=Path(".local/kafka"), help="where the jars are kept")
    parser.add_argument("--mock", action="store_true", help="the in-memory broker even where Java is there")
    parser.add_argument("--fetch-only", action="store_true", help="fetch the jars and exit")
    parser.add_argument(
        "--topic", action="append", default=[], metavar="NAME:PARTITIONS", help="a topic of the in-memory broker"
    )
    args = parser.parse_args()

    java, mvn = java_and_maven()
    if args.mock or not java or not (mvn or jars_folder(args.libs).is_dir()):
        topics = {name: int(partitions) for name, _, partitions in (topic.partition(":") for topic in args.topic)}
        asyncio.run(serve_mock(args.port, topics))
        return 0
    try:
        jars = ensure_jars(args.libs.resolve(), mvn)
        if args.fetch_only:
            return 0
        broker = Broker(args.data.resolve(), args.port, args.controller_port)
        prepare(broker, java, jars)
    except JarsUnavailableError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"kafka: formatting {args.data} failed with status {error.returncode}", file=sys.stderr)
        return 1
    exec_broker(broker, java, jars)
    return 0


async def serve_mock(port: int, topics: dict[str, int]) -> None:
    """Serve the in-memory broker; imported late, for an Apache Kafka needs no librdkafka."""
    from infra.local.kafka.mock import serve  # noqa: PLC0415

    await serve(port, topics)


if __name__ == "__main__":
    sys.exit(main())
