"""librdkafka's in-memory broker as a foreground server: what there is when Java is not.

It keeps nothing across a restart, drops old records (5 MB per partition) and cannot create topics on request; it is
for looking around, never for measuring or for trusting. It listens where it likes and tells clients so in its
metadata, so a small forwarder on the promised port is all that a client's `bootstrap.servers` needs.
"""

import asyncio
import ctypes
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka
from confluent_kafka import cimpl

WARNING = """\
================================================================================
 kafka: `java` or `mvn` is missing: this is librdkafka's IN-MEMORY broker.
 Events are LOST when it stops and old ones are dropped while it runs.
 Install Java 17+ and Maven, then start again, for a real Apache Kafka.
================================================================================"""

_PRODUCER = 0


def _librdkafka() -> ctypes.CDLL:
    """The very library that confluent_kafka has loaded (its wheel carries it)."""
    _ = cimpl
    bundled = sorted((Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*"))
    library = ctypes.CDLL(str(bundled[0]) if bundled else "librdkafka.so.1")
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    return library


def start_cluster(topics: Mapping[str, int]) -> tuple[str, int]:
    """Start an in-memory broker in this process with `topics` (name → partitions); returns its own host and port."""
    library = _librdkafka()
    error = ctypes.create_string_buffer(512)
    client = library.rd_kafka_new(_PRODUCER, None, error, ctypes.c_size_t(len(error)))
    if not client:
        raise RuntimeError(f"librdkafka could not start: {error.value.decode()}")
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    if not cluster:
        raise RuntimeError("librdkafka could not start its in-memory broker")
    for name, partitions in topics.items():
        code = library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1)
        if code != 0:
            raise RuntimeError(f"the in-memory broker refused the topic {name}: error {code}")
    host, port = library.rd_kafka_mock_cluster_bootstraps(cluster).decode().split(",")[0].rsplit(":", 1)
    return host, int(port)


async def serve(port: int, topics: Mapping[str, int]) -> None:
    """Run the in-memory broker, reachable at 127.0.0.1:`port`, until SIGTERM or SIGINT."""
    broker_host, broker_port = start_cluster(topics)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(broker_host, broker_port)
        await asyncio.gather(_pipe(reader, upstream_writer), _pipe(upstream_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", port)
    print(WARNING, file=sys.stderr, flush=True)
    print(f"kafka: in-memory broker at 127.0.0.1:{port} (itself at {broker_host}:{broker_port})", flush=True)
    async with server:
        await stopped.wait()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass  # either side may hang up at any time; the client reconnects by itself
    finally:
        sink.close()
