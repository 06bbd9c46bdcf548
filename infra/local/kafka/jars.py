"""The broker's jars: resolved by Maven once, then reused from `.local/`."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
KAFKA_VERSION = "4.1.0"


class JarsUnavailableError(RuntimeError):
    """Maven could not resolve the broker's jars; the message says what failed and what to do."""


def java_and_maven() -> tuple[str | None, str | None]:
    """The paths of `java` and `mvn` on PATH, None for what is missing."""
    return shutil.which("java"), shutil.which("mvn")


def jars_folder(cache: Path) -> Path:
    """Where the jars of the pinned versions live under `cache`; the name changes with any change of `pom.xml`."""
    return cache / f"libs-{KAFKA_VERSION}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"


def ensure_jars(cache: Path, mvn: str | None) -> Path:
    """Return the folder with every jar of `pom.xml`, downloading on the first call (about 45 files, 60 MB).

    A folder under its final name is complete: it is filled under a temporary name and renamed, so an interrupted
    download is simply done again. Raises JarsUnavailableError when the jars are not there and cannot be had.
    """
    target = jars_folder(cache)
    if target.is_dir():
        return target
    if mvn is None:
        raise JarsUnavailableError(f"Kafka's jars are not in {target} and `mvn` is not on PATH to fetch them")
    cache.mkdir(parents=True, exist_ok=True)
    print(f"kafka: fetching Apache Kafka {KAFKA_VERSION} and its libraries with Maven (once) …", flush=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        libs = Path(scratch) / "libs"
        command = [
            mvn, "-B", "-q", "-Dstyle.color=never", "-f", str(POM), "dependency:copy-dependencies",
            "-DincludeScope=runtime", f"-DoutputDirectory={libs}",
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0 or not any(libs.glob("kafka_*.jar")):
            raise JarsUnavailableError(maven_failure(result.stdout + result.stderr))
        _rename_unless_there(libs, target)
    print(f"kafka: {len(list(target.glob('*.jar')))} jars in {target}", flush=True)
    return target


def _rename_unless_there(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError:
        # Another process finished the same download first; its folder holds the same pinned files.
        if not target.is_dir():
            raise


def maven_failure(output: str) -> str:
    """What Maven's output says went wrong, without its colours and its advice on how to run Maven."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in output.splitlines()]
    errors = [line for line in lines if line.startswith("[ERROR]") and not _ADVICE.match(line)]
    cause = "\n".join(errors[:3] or lines[-3:]) or "Maven printed nothing"
    return (
        f"Maven could not fetch Kafka's jars:\n{cause}\n"
        "It needs its central repository (or a mirror named in ~/.m2/settings.xml) for this one download."
    )


_ADVICE = re.compile(r"\[ERROR\] *($|To see the full|Re-run Maven|For more information|\[Help)")
