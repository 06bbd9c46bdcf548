"""Logs how far a job of Spark is, while the thread that started it waits."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


@contextmanager
def progress_logged(session: "SparkSession", what: str, *, every_seconds: float = 15) -> Iterator[None]:
    """Log the number of Spark jobs finished under ``what`` every so often, and the seconds at the end.

    MLlib tells nothing of its iterations; each is two jobs, and a few come before and after.
    """
    started, over = time.perf_counter(), threading.Event()
    session.sparkContext.setJobGroup(what, what)
    tracker = session.sparkContext.statusTracker()

    def report() -> None:
        while not over.wait(every_seconds):
            known = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(what)]
            done = sum(job is not None and job.status == "SUCCEEDED" for job in known)
            log.info("Spark is at work", extra={"what": what, "jobs_done": done, "seconds": _since(started)})

    thread = threading.Thread(target=report, name="spark-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    log.info("Spark is done", extra={"what": what, "seconds": _since(started)})


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
