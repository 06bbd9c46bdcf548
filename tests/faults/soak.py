"""`python -m tests.faults.soak --minutes 10 [--seed N]`: random kills under load; nothing lost, nothing doubled.

Clients of the REST API send likes, undos and ratings and repeat what is not acknowledged; bad records go to the API
and straight to the topic. Meanwhile consumers, replicas, ClickHouse, Kafka and PostgreSQL are killed and frozen. At
the end all of them are brought back, and what the views show is compared with what was acknowledged.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.soak_chaos import Chaos
from tests.faults.soak_clients import Client
from tests.faults.soak_ledger import Ledger
from tests.faults.soak_plan import Kind, plan
from tests.faults.soak_stack import FILMS, STEADY, WEIGHTS, Stack
from tests.faults.soak_verdict import Check, check_histories, check_memory, check_stream, equal
from tests.faults.soak_watch import Onlooker, resident_megabytes, trend
from tests.faults.world import World

KILLS_PER_MINUTE, FREEZES_PER_MINUTE = 9, 2
CLIENTS, VIEWERS_EACH, EVENTS_PER_SECOND = 4, 50, 150
SAMPLED_VIEWERS = 40
TICK_SECONDS, LINE_SECONDS = 0.05, 5
FINISH_SECONDS, DRAIN_SECONDS = 60, 120


@dataclass
class Soak:
    """One run. `run` returns the checks; ``kills`` and ``freezes`` are exact."""

    folder: Path
    seed: int
    seconds: float
    kills: int
    freezes: int
    counts: dict[str, int] = field(default_factory=dict)

    def run(self) -> list[Check]:
        """Start everything, break it for ``seconds``, mend it, and judge."""
        rng = random.Random(self.seed)
        blows = plan(rng, self.seconds, self.kills, self.freezes, WEIGHTS)
        stack = Stack(self.folder, rng)
        try:
            return self._run(stack, Chaos(blows, stack.processes), rng)
        finally:
            stack.close()

    def _run(self, stack: Stack, chaos: Chaos, rng: random.Random) -> list[Check]:
        world, ledger, onlooker = stack.world, Ledger(stack.world.oracle), Onlooker(stack.world)
        world.flush()  # makes the producer that the clients share
        clients = [
            Client(
                replicas=list(stack.replicas.values()),
                viewers=range(1 + number * VIEWERS_EACH, 1 + (number + 1) * VIEWERS_EACH),
                films=FILMS,
                per_second=EVENTS_PER_SECOND / CLIENTS,
                rng=random.Random(rng.getrandbits(32)),
                ledger=ledger,
                send_bad_record=world.send_soon_bad,
            )
            for number in range(CLIENTS)
        ]
        onlooker.start()
        for client in clients:
            client.start()
        memory = self._break_things(stack, chaos, onlooker)
        chaos.heal()
        stack.wait_ready()
        for client in clients:
            client.end()
        for client in clients:
            client.join(FINISH_SECONDS)
        world.flush()
        drained = world.wait_drained(DRAIN_SECONDS)
        onlooker.end()
        chaos.heal()  # notices who died meanwhile
        print(f"drained {drained:.1f} s after the last event", flush=True)

        checks = check_stream(world, ledger)
        sample = rng.sample(range(1, 1 + CLIENTS * VIEWERS_EACH), SAMPLED_VIEWERS)
        signals = world.oracle.expected_signals()
        checks += [check_histories(url, name, sample, signals) for name, url in stack.replicas.items()]
        checks += [check_memory(name, trend(own), flat=name == STEADY) for name, own in memory.items() if len(own) > 7]
        checks += [
            _none("processes that died by themselves", chaos.died),
            _none("answers that break a promise", ledger.unexpected),
            _none("times a view showed something twice meanwhile", onlooker.doubled),
            equal("kills", self.kills, chaos.count(Kind.KILL)),
            equal("freezes", self.freezes, chaos.count(Kind.FREEZE)),
        ]
        self.counts = {
            "events": len(world.oracle.events), "bad records": len(world.oracle.bad), **ledger.counts,
            **{f"{kind} {name}": count for (kind, name), count in sorted(chaos.hits.items())},
            "rows seen written twice": onlooker.redelivered, "looks at the views": onlooker.looks,
        }  # fmt: skip
        return checks

    def _break_things(self, stack: Stack, chaos: Chaos, onlooker: Onlooker) -> dict[str, list[tuple[float, float]]]:
        """Deal all blows; returns the memory of the consumers and replicas, sampled once a second."""
        watched = [name for name in stack.processes if name.startswith(("consumer", "inference"))]
        memory: dict[str, list[tuple[float, float]]] = {name: [] for name in watched}
        begin, next_sample, next_line = time.monotonic(), 0.0, 0.0
        while (elapsed := time.monotonic() - begin) < self.seconds or not chaos.is_over:
            chaos.tick(elapsed)
            if elapsed >= next_sample:
                next_sample += 1
                for name in watched:
                    megabytes = resident_megabytes(stack.processes[name])
                    if megabytes is not None:
                        memory[name].append((elapsed, megabytes))
            if elapsed >= next_line:
                next_line += LINE_SECONDS
                self._print_line(elapsed, chaos, stack.world, onlooker, memory[STEADY])
            time.sleep(TICK_SECONDS)
        return memory

    def _print_line(
        self, elapsed: float, chaos: Chaos, world: World, onlooker: Onlooker, memory: list[tuple[float, float]]
    ) -> None:
        killed = ", ".join(f"{name} {count}" for (kind, name), count in sorted(chaos.hits.items()) if kind is Kind.KILL)
        print(
            f"{elapsed:4.0f}/{self.seconds:.0f} s  acknowledged {len(world.oracle.events)}"
            f"  lag {'?' if onlooker.lag is None else onlooker.lag}  memory {memory[-1][1] if memory else 0:.0f} MB"
            f"  kills {chaos.count(Kind.KILL)}/{self.kills} ({killed})",
            flush=True,
        )


def _none(what: str, found: list[str]) -> Check:
    return Check(what, 0, len(found), "\n".join(found[:3]))


def print_summary(soak: Soak, checks: list[Check]) -> None:
    """Print the counts and the table of checks."""
    print("\n" + ", ".join(f"{name}: {count}" for name, count in soak.counts.items()))
    print(f"\n{'check':55} {'expected':>16}  found")
    for check in checks:
        print(f"{check.what:55} {check.expected!s:>16}  {check.found!s:45} {'ok' if check.holds else 'FAILED'}")
        if check.problem:
            print(f"    {check.problem}")


@contextmanager
def native_clients_log_to(path: Path) -> Iterator[None]:
    """Send what librdkafka writes about each lost connection to a file instead of standard error."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def main() -> int:
    """Soak for as long as asked; 0 when everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31), help="repeats a run")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {args.seed}, logs in {folder}; again: --minutes {args.minutes:g} --seed {args.seed}", flush=True)
    kills, freezes = round(args.minutes * KILLS_PER_MINUTE), round(args.minutes * FREEZES_PER_MINUTE)
    soak = Soak(folder, args.seed, args.minutes * 60, kills, freezes)
    with native_clients_log_to(folder / "clients.log"):
        checks = soak.run()
    print_summary(soak, checks)
    holds = all(check.holds for check in checks)
    print(f"\n{'passed' if holds else 'FAILED'}: seed {args.seed}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
