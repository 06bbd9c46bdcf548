"""``python -m tests.faults.mutations``: take each guard out of a copy of the code, and see which fault test notices.

A guard that nobody notices missing is not tested. Ends with status 1 when a mutation survives. The working tree is
never changed: each mutation gets a copy of it, in which the tests run. Without any
mutation they have to pass first: status 2 otherwise.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support.processes import ROOT

COPIED = ("services", "tests", "infra", "pyproject.toml")
INGESTION, BATCH = "services/consumer/ingestion.py", "services/consumer/batch.py"


@dataclass(frozen=True)
class Mutation:
    """``old`` occurs once in ``file``; with ``new`` in its place one guard is gone. ``tests`` should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_STORE_THEN_COMMIT = """\
        for block in blocks:
            self._raise_if_too_much_is_bad(block)
            parts = self._retrier.call("erased viewers", partial(self._writer.split, block))
            self._note_holes(block)
            self._set_aside(block, parts.rejected, parts.erased)
            self._store(parts.good)
        self._commit(ours)
"""
_QUARANTINE_THEN_GOOD = """\
            self._set_aside(block, parts.rejected, parts.erased)
            self._store(parts.good)
"""

MUTATIONS = (
    Mutation(
        "commit before insert",
        INGESTION,
        _STORE_THEN_COMMIT,
        "        self._commit(ours)\n" + _STORE_THEN_COMMIT.replace("        self._commit(ours)\n", ""),
        ("test_01 and not 25", "test_12_nothing", "test_13", "test_19_sigterm_while"),
    ),
    Mutation(
        "token without its checksum",
        BATCH,
        'return f"{epoch}:{partition}:{first}-{last}:{crc:08x}"',
        'return f"{epoch}:{partition}:{first}-{last}"',
        ("test_17",),
    ),
    Mutation(
        "checksum without the decoder's version",
        BATCH,
        'crc = zlib.crc32(array("Q", offsets).tobytes(), DECODER_VERSION)',
        'crc = zlib.crc32(array("Q", offsets).tobytes())',
        ("test_17",),
    ),
    Mutation(
        "checksum without the offsets",
        BATCH,
        'crc = zlib.crc32(array("Q", offsets).tobytes(), DECODER_VERSION)',
        "crc = DECODER_VERSION",
        ("test_17",),
    ),
    Mutation(
        "good rows before the quarantine",
        INGESTION,
        _QUARANTINE_THEN_GOOD,
        "".join(reversed(_QUARANTINE_THEN_GOOD.splitlines(keepends=True))),
        ("test_13",),
    ),
    Mutation(
        "no quarantine",
        INGESTION,
        "        if rejected or erased:\n",
        "        if erased:\n",
        ("test_12_one_percent", "test_13"),
    ),
    Mutation(
        "offsets without a record are not entered",
        INGESTION,
        "        if block.holes:\n",
        "        if False:\n",
        ("test_21 and committed",),
    ),
    Mutation(
        "what a partition's end tells is not heeded",
        "services/consumer/intake.py",
        "        elif mark.end > owned.next and (",
        "        elif False and (",
        ("test_21 and committed",),
    ),
    Mutation(
        "the breaker counts what a person has said is bad",
        INGESTION,
        "        expected = self._expected_bad.get(block.place, ())\n",
        "        expected = ()\n",
        ("test_12_nothing",),
    ),
    Mutation(
        "one epoch for all",
        "services/common/kafka.py",
        'return int.from_bytes(hashlib.sha256(topic_id.encode()).digest()[:8], "big") >> 1 or 1',
        "return 1",
        ("test_15",),
    ),
    Mutation(
        "commits for whoever owns the partition",
        INGESTION,
        "                if self._membership.owned.get(block.place) is owned\n",
        "",
        ("test_06_put",),
    ),
    Mutation(
        "a gap is jumped over",
        "services/consumer/start.py",
        "        if s.committed.offset < s.begin:\n",
        "        if False:\n",
        ("test_14",),
    ),
    Mutation(
        "erased viewers are not filtered",
        "services/consumer/writer.py",
        "        erased = self._erased\n",
        "        erased: frozenset[int] = frozenset()\n",
        ("test_18_erased",),
    ),
    Mutation(
        "erased rows are deleted before they are noted",
        "services/common/erasure.py",
        '            doomed += f" AND',
        '            _ = f" AND',
        ("test_18_a_row",),
    ),
)


def copy_with(mutation: Mutation, folder: Path) -> None:
    """Copy what the tests need and make the change.

    Raises:
        ValueError: the code has moved on; the mutation must follow.
    """
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    file = folder / mutation.file
    text = file.read_text()
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.name}: expected once in {mutation.file}, found {text.count(mutation.old)} times")
    file.write_text(text.replace(mutation.old, mutation.new))


def failed_tests(mutation: Mutation, log: Path) -> list[str]:
    """Run the tests that should notice in a mutated copy; return those that failed.

    Raises:
        RuntimeError: none of them ran to its end.
    """
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        folder = Path(scratch)
        copy_with(mutation, folder)
        report = folder / "report.xml"
        local = ROOT / os.environ.get("LOCAL_DIR", ".local")
        with log.open("w") as output:
            subprocess.run(
                [
                    sys.executable, "-m", "pytest", "tests/faults", "-m", "not slow",
                    "-k", " or ".join(f"({test})" for test in mutation.tests),
                    "--tb=short", "-p", "no:cacheprovider", "--basetemp", str(folder / "pytest"),
                    "--junitxml", str(report),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(folder), "LOCAL_DIR": str(local), "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - our own
    if not cases or any(case.find("error") is not None for case in cases):
        raise RuntimeError(f"{mutation.name}: its tests did not run: {log}")
    return [case.get("name", "") for case in cases if case.find("failure") is not None]


def main() -> int:
    """Run the mutations that were asked for, after the tests without any; print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose name contains one of these")
    words = parser.parse_args().words
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    logs = Path(tempfile.mkdtemp(prefix="mutations-"))
    tests = tuple(sorted({test for mutation in chosen for test in mutation.tests}))
    unchanged = Mutation("nothing changed", INGESTION, _STORE_THEN_COMMIT, _STORE_THEN_COMMIT, tests)
    if failed := failed_tests(unchanged, logs / "unchanged.log"):
        print(f"without any mutation these fail: {', '.join(failed)} ({logs}/unchanged.log)")
        return 2
    survived = 0
    for mutation in chosen:
        begin = time.monotonic()
        log = logs / f"{mutation.name.replace(' ', '-')}.log"
        failed = failed_tests(mutation, log)
        survived += not failed
        verdict = ", ".join(failed) or f"SURVIVED ({log})"
        print(f"{mutation.name:40} {time.monotonic() - begin:5.0f} s  {verdict}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutations were noticed")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
