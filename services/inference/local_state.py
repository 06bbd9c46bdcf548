"""Small local files with which a replica can start while a store is down.

One folder per machine (setting ``REPLICA_STATE_DIR``); replicas on the machine may share it. A file is a pydantic
model as JSON, named by its owner:

    state = LocalState(settings.local_state_dir)        # created once, in `main`, and passed in
    state.write("champion", ServedModel(version="v1"))  # after each read from PostgreSQL; does nothing if unchanged
    held = state.read("champion", ServedModel)          # when PostgreSQL does not answer; None: nothing kept

Writing never raises: a full disk or a read-only folder affects the next start, not this request. Treat what you read
as outdated: it was true when it was written. Read it again from the store once that answers.
"""

import hashlib
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

log = logging.getLogger(__name__)
_Model = TypeVar("_Model", bound=BaseModel)


class LocalState:
    """Reads and writes the files of one folder. Thread-safe; both block for the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._written: dict[str, bytes] = {}
        self._last_error: str | None = None

    def read(self, name: str, kind: type[_Model]) -> _Model | None:
        """Return the value last written under the name; None if there is none or it is not valid."""
        path = self._path(name)
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("a local file cannot be used", extra={"file": str(path), "why": type(error).__name__})
            return None

    def write(self, name: str, value: BaseModel) -> None:
        """Write ``value`` atomically; does nothing if it is unchanged."""
        content = value.model_dump_json().encode()
        digest = hashlib.sha256(content).digest()
        with self._lock:
            if self._written.get(name) == digest:
                return
            try:
                self._replace(self._path(name), content)
            except OSError as error:
                if self._last_error != str(error):
                    log.warning("local files cannot be written; the next start needs its stores: %s", error)
                self._last_error = str(error)
                return
            self._written[name] = digest
            self._last_error = None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _replace(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=self._folder)  # mode 600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(staging).replace(path)
        except BaseException:
            Path(staging).unlink(missing_ok=True)
            raise
