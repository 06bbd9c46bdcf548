"""A store that the exporter reads: connected anew for each look, so that no connection can hang from the last."""

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
        except Exception as error:
            if self.up is not False:
                log.warning("%s could not be read", self.name, extra={"why": repr(error)})
            self.up = False
            raise
        if self.up is False:
            log.info("%s can be read again", self.name)
        self.up = True
