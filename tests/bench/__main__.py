"""``make bench``: what the project claims to be fast, one benchmark after the other; fails when a goal is missed."""

import subprocess
import sys

BENCHMARKS = {
    "bench_ranking": "one recommendation against RecTools' recommend()",
    "bench_consumer": "the consumer with all guarantees against a bare loop",
    "bench_reload": "model swaps under request load",
    "bench_restart": "a restart after a million events, a rollback across two",
    "bench_observability": "the API with and without what observes it",
}


def main() -> int:
    """Run each in a process of its own; return the number of goals missed."""
    missed = 0
    for name, what in BENCHMARKS.items():
        print(f"\n== {what} ({name})", flush=True)
        missed += subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode != 0
    print(f"\n{len(BENCHMARKS) - missed} of {len(BENCHMARKS)} benchmarks reached their goals")
    return missed


if __name__ == "__main__":
    sys.exit(main())
