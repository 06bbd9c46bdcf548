"""A store that the exporter reads: connected when it is needed, and again after it failed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

C = TypeVar("C")
log = logging.getLogger(__name__)


class Dependency(Generic[C]):
    """`up` tells whether it could be read last time, or None before the first; a change is logged, once."""

    def __init__(self, name: str, connect: Callable[[], C], close: Callable[[C], object] = lambda _: None) -> None:
        self.name = name
        self.up: bool | None = None
        self._connect = connect
        self._close = close
        self._client: C | None = None

    @contextmanager
    def client(self) -> Iterator[C]:
        """Lend the client; whatever goes wrong in the block counts against the dependency, and is raised."""
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except Exception as error:
            if self.up is not False:
                log.warning("%s could not be read", self.name, extra={"why": repr(error)})
            self.up = False
            self._drop()
            raise
        if self.up is False:
            log.info("%s can be read again", self.name)
        self.up = True

    def _drop(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                self._close(self._client)
        self._client = None
