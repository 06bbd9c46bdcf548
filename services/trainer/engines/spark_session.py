"""A Spark session for one training: its settings, what must be there for it, and its end."""

import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

import services

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

_OLDEST_JAVA = 17
_CONNECT_SECONDS = 5
_MEMORY = r"^[1-9][0-9]*[mg]$"


class SparkUnavailableError(Exception):
    """Spark cannot be started or reached; the message says what is missing and what to do."""


class SparkFailedError(Exception):
    """What ran on Spark failed; the message is the innermost reason, Spark's own error the cause."""


class SparkSettings(BaseModel):
    """Where Spark runs and how much it may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    master: str = Field(
        default="local[2]",
        pattern=r"^(local(\[([1-9][0-9]*|\*)\])?|spark://.+|k8s://.+|yarn)$",
        description="local[N]: N threads of this machine; spark://host:port, k8s://… or yarn: a cluster.",
    )
    driver_memory: str = Field(default="2g", pattern=_MEMORY, description="Heap of the driver; with local[N], of all.")
    executor_memory: str = Field(default="2g", pattern=_MEMORY, description="Heap of each executor of a cluster.")
    driver_host: str | None = Field(default=None, description="Where the cluster's executors reach this machine.")
    folder: str | None = Field(
        default=None, description="URL of a folder that driver and executors share, for a cluster: hdfs://…, s3a://…"
    )
    blocks: int = Field(default=8, ge=1, description="Parts of the data, the most tasks at once. Changes the factors.")
    checkpoint_interval: int = Field(
        default=5, ge=1, description="Iterations between checkpoints; without any, long lineages overflow the stack."
    )
    python: str = Field(default="python3", description="Python of a cluster's executors, of the same minor version.")
    start_seconds: float = Field(default=60, gt=0, description="How long to wait for the first executor of a cluster.")
    conf: dict[str, str] = Field(default={}, description="More Spark properties; they come last, so they win.")

    @property
    def is_local(self) -> bool:
        """Whether all runs in one process of this machine."""
        return self.master.startswith("local")

    @model_validator(mode="after")
    def _a_cluster_shares_a_folder(self) -> Self:
        if not self.is_local and not self.folder:
            raise ValueError(f"the master {self.master} needs `folder`, which driver and executors share")
        return self


@contextmanager
def spark_session(settings: SparkSettings) -> Iterator[tuple["SparkSession", str]]:
    """Yield a session and a folder of its own, which its executors share; both are gone afterwards.

    The executors can import `services`. One session at a time; the JVM stays until this process ends, and with it the
    first session's ``driver_memory``. Blocks until a cluster has given an executor.

    Raises:
        SparkUnavailableError: pyspark or Java is missing or too old, a session runs already, the master does not
            answer, or there is no executor after ``start_seconds``.
        SparkFailedError: what is done with the session fails on Spark.
    """
    check_installed()
    if not settings.is_local:
        check_master(settings.master)
    from py4j.protocol import Py4JError  # noqa: PLC0415 - with pyspark optional, so is this
    from pyspark.errors import PySparkException  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="spark-") as scratch:
        session = _start(settings, Path(scratch))
        try:
            session.sparkContext.pythonExec = sys.executable if settings.is_local else settings.python
            _wait_for_executor(session, settings)
            folder = f"{settings.folder or Path(scratch).as_uri()}/{session.sparkContext.applicationId}"
            session.sparkContext.setCheckpointDir(f"{folder}/checkpoints")
            session.sparkContext.addPyFile(str(_zip_of_services(Path(scratch))))
            try:
                yield session, folder
            except (PySparkException, Py4JError) as error:
                raise SparkFailedError(f"Spark failed: {reason_in(str(error))}") from error
            finally:
                _delete(session, folder)
        finally:
            session.stop()


def check_installed() -> None:
    """Check that pyspark and a Java that it runs on are there.

    Raises:
        SparkUnavailableError: one of them is not.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise SparkUnavailableError(
            "pyspark is not installed: the Spark engine has requirements of its own, infra/requirements/spark.in"
        )
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        raise SparkUnavailableError(
            f"Spark needs Java {_OLDEST_JAVA} or later, and there is no `java` in {f'{home}/bin' if home else 'PATH'}"
        )
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise SparkUnavailableError(f"Spark needs Java {_OLDEST_JAVA} or later, `{java} -version` says: {printed!r}")


def check_master(master: str) -> None:
    """Check that one of the addresses in a master's URL accepts connections; those of yarn are not in it.

    Spark itself would try for a minute and then say that the context was stopped.

    Raises:
        SparkUnavailableError: none does.
    """
    addresses = [urlsplit(f"//{part}") for part in re.sub(r"^.*//", "", master).split(",") if ":" in part]
    problems = []
    for address in addresses:
        try:
            socket.create_connection((address.hostname or "", address.port or 0), _CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            problems.append(str(error))
        else:
            return
    if problems:
        raise SparkUnavailableError(f"the Spark master {master} does not answer: {'; '.join(problems)}")


def reason_in(message: str) -> str:
    """Return the line of an error of Spark's that says why, without the stacks of Python and Java around it.

    >>> reason_in("Job aborted.\\nTraceback:\\n  File …\\nHTTPError: away\\nDriverError: no answer\\n  at org.apache")
    'DriverError: no answer'
    """
    reasons = re.findall(r"^(?:: )?([\w.$]+(?:Error|Exception): .*)$", message, flags=re.MULTILINE)
    return str(reasons[-1]) if reasons else message.strip().partition("\n")[0]


def _start(settings: SparkSettings, scratch: Path) -> "SparkSession":
    from py4j.protocol import Py4JError  # noqa: PLC0415 - as above
    from pyspark import SparkContext  # noqa: PLC0415
    from pyspark.errors import PySparkException  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    if SparkContext._active_spark_context is not None:
        raise SparkUnavailableError("this process runs a Spark session already")
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it reports each connection it closes
    builder = SparkSession.builder.master(settings.master).appName("movierecs-trainer")
    for name, value in {**_properties(settings, scratch), **settings.conf}.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except (PySparkException, Py4JError) as error:
        raise SparkUnavailableError(
            f"Spark does not start with the master {settings.master}: {reason_in(str(error))}"
        ) from error


def _properties(settings: SparkSettings, scratch: Path) -> dict[str, str]:
    properties = {
        "spark.driver.memory": settings.driver_memory,
        "spark.executor.memory": settings.executor_memory,
        "spark.sql.shuffle.partitions": str(settings.blocks),
        "spark.default.parallelism": str(settings.blocks),
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    if settings.is_local:
        properties |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": str(scratch),
        }
    elif settings.driver_host:
        properties |= {"spark.driver.host": settings.driver_host, "spark.driver.bindAddress": "0.0.0.0"}  # noqa: S104
    return properties


def _wait_for_executor(session: "SparkSession", settings: SparkSettings) -> None:
    if settings.is_local:
        return
    deadline = time.monotonic() + settings.start_seconds
    while session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver is one
        if time.monotonic() > deadline:
            raise SparkUnavailableError(
                f"the Spark master {settings.master} gave no executor within {settings.start_seconds:g} s: has it a"
                f" worker with {settings.executor_memory} free, that reaches this machine?"
            )
        time.sleep(0.2)


def _zip_of_services(scratch: Path) -> Path:
    source, target = Path(services.__file__).parent, scratch / "services.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(source.rglob("*.py")):
            archive.write(path, path.relative_to(source.parent))
    return target


def _delete(session: "SparkSession", folder: str) -> None:
    """Delete a folder where Hadoop finds it; a failure is logged, as it must not hide how the training ended."""
    try:
        path = session._jvm.org.apache.hadoop.fs.Path(folder)
        path.getFileSystem(session.sparkContext._jsc.hadoopConfiguration()).delete(path, True)
    except Exception as error:  # py4j's are many, and a dead JVM's are others
        log.warning("the folder %s with the weights of a training could not be deleted: %s", folder, error)
