"""One background thread that does one thing at a time, so that the main thread can go on polling Kafka."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """Runs calls in order on a daemon thread: an insert that hangs cannot keep the process from ending.

    A ``ThreadPoolExecutor`` would be joined at exit, however long its last call takes.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Return at once; the future gets what ``call`` returns or raises."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # handed to whoever waits for the future
                future.set_exception(error)

        self._calls.put(run)
        return future

    def close(self) -> None:
        """Let the thread end after what has been submitted; does not wait."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
