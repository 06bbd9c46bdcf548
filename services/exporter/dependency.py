"""A store that the exporter reads. Each collection opens a new connection, so that none can hang from the last one."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Generic, TypeVar

C = TypeVar("C")
log = logging.getLogger(__name__)


class NotFoundError(Exception):
    """The store answers but does not have what was asked for, which is not the store's fault."""


class Dependency(Generic[C]):
    """`up` tells whether it could be read last time, or None before the first; a change is logged, once."""

    def __init__(self, name: str, connect: Callable[[], C], close: Callable[[C], object] = lambda _: None) -> None:
        self.name = name
        self.up: bool | None = None
        self._lock = Lock()
        self._connect = connect
        self._close = close

    @contextmanager
    def client(self) -> Iterator[C]:
        """Lend a client; whatever goes wrong in the block counts against the dependency, and is raised."""
        try:
            client = self._connect()
            try:
                yield client
            finally:
                with suppress(Exception):
                    self._close(client)
        except NotFoundError:
            self._note(up=True)
            raise
        except Exception as error:
            self._note(up=False, why=repr(error))
            raise
        self._note(up=True)

    def _note(self, *, up: bool, why: str = "") -> None:
        with self._lock:
            before, self.up = self.up, up
        if not up and before is not False:
            log.warning("%s could not be read", self.name, extra={"why": why})
        if up and before is False:
            log.info("%s can be read again", self.name)
