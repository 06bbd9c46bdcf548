"""Events at a steady rate in the background, for tests that break something under load."""

import random
import threading
import time
from types import TracebackType

from tests.faults.world import World

TICK_SECONDS = 0.02


class Load:
    """Produces ``per_second`` events within its block. The broker may be away meanwhile: what was sent waits for it."""

    def __init__(self, world: World, per_second: float) -> None:
        self._world = world
        self._per_second = per_second
        self._rng = random.Random(world.rng.getrandbits(32))  # the test's own generator is the test's thread's alone
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.sent = 0

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """End; without an error in the block, return once every event was acknowledged."""
        self._ended.set()
        self._thread.join(130)
        if kind is None:
            if self._failure is not None:
                raise self._failure
            self._world.flush()

    def _run(self) -> None:
        begin = time.monotonic()
        try:
            while not self._ended.wait(TICK_SECONDS):
                due = int((time.monotonic() - begin) * self._per_second) - self.sent
                for _ in range(due):
                    self._world.send_soon(self._world.random_event(rng=self._rng))
                self.sent += due
        except BaseException as error:  # handed to the test's thread
            self._failure = error
