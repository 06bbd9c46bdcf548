"""Seeds, worlds and the summary of the fault tests."""

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.world import World
from tests.support.services import ClickHouseServer, KafkaServer

_COUNTS = "fault counts"


@pytest.fixture
def seed() -> int:
    """Of everything random in a test; FAULT_SEED repeats a run."""
    value = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(2**31))
    print(f"FAULT_SEED={value}")
    return value


@pytest.fixture
def rng(seed: int) -> random.Random:
    return random.Random(seed)


@pytest.fixture
def report(request: pytest.FixtureRequest, seed: int) -> Callable[..., None]:
    """`report(kills=3, events=900)`: counts for the table at the end."""
    row: dict[str, object] = {"seed": seed}
    begin = time.monotonic()
    request.node.user_properties.append((_COUNTS, row))  # which reach the summary also from another process

    def update(**counts: object) -> None:
        row.update(counts, seconds=round(time.monotonic() - begin, 1))

    return update


@pytest.fixture
def world(tmp_path: Path, kafka: KafkaServer, clickhouse: ClickHouseServer, rng: random.Random) -> Iterator[World]:
    """A stream on the shared broker and ClickHouse: for tests that kill only what they started themselves."""
    one = World(tmp_path, kafka, clickhouse, rng)
    yield one
    one.close()


@pytest.fixture
def kafka_world(
    tmp_path: Path, own_kafka: KafkaServer, clickhouse: ClickHouseServer, rng: random.Random
) -> Iterator[World]:
    """A stream on a broker of its own, which the test may kill and freeze, and the shared ClickHouse."""
    one = World(tmp_path, own_kafka, clickhouse, rng)
    yield one
    one.close()


@pytest.fixture
def clickhouse_world(
    tmp_path: Path, kafka: KafkaServer, own_clickhouse: ClickHouseServer, rng: random.Random
) -> Iterator[World]:
    """A stream on the shared broker and a ClickHouse of its own, which the test may kill and freeze."""
    one = World(tmp_path, kafka, own_clickhouse, rng)
    yield one
    one.close()


@pytest.fixture
def own_world(
    tmp_path: Path, own_kafka: KafkaServer, own_clickhouse: ClickHouseServer, rng: random.Random
) -> Iterator[World]:
    """A stream on a broker and a ClickHouse of its own, which the test may kill and freeze."""
    one = World(tmp_path, own_kafka, own_clickhouse, rng)
    yield one
    one.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{name:7} {report.nodeid.split('::')[-1]}: {', '.join(f'{key} {value}' for key, value in row.items())}"
        for name in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(name, [])
        for kind, row in report.user_properties
        if kind == _COUNTS
    ]
    if lines:
        terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
