"""The folder of one run: arrays, and one JSON result per completed step."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from services.trainer.evaluation.comparison import Comparison
from services.trainer.models.recipe import Recipe

LOCK_FILE = ".lock"
"""The lock file in a run's folder, held by the steps that work in it."""
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


class RunError(Exception):
    """The run cannot continue; the message says what is missing and which step creates it."""


class Result(BaseModel):
    """The result of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Extracted(Result):
    """Result of `extract`."""

    signals: int
    topic_id: str | None
    offsets: dict[int, int]
    extracted_at: AwareDatetime


class Trained(Result):
    """Result of `train`: what the models in `Run.model` were made with and from."""

    recipe: Recipe
    parameters: dict[str, dict[str, Any]]
    """By model: what it was trained with, as its kind says it."""
    users: int
    items: int
    positives: int
    trained_at: AwareDatetime
    seconds: float


class Evaluated(Result):
    """Result of `evaluate`: the models' metrics on the run's own split in time."""

    users: int
    metrics: dict[str, float]
    """By model and metric, as in the manifest: of the split at ten films, and of streaming."""
    champion: str | None
    """Version whose recipe was measured as "champion"."""
    comparisons: dict[str, dict[str, Comparison]] = {}
    """By protocol the statistical comparison with each rival."""
    newcomers: Comparison | None = None
    """With recent popularity in streaming, for viewers with at most two likes."""
    leaked: int = 0
    """How many signals of the test part the training part has."""
    same_recipe: bool = False
    """Whether the champion has the same recipe as this run."""


class Published(Result):
    """Result of `publish`."""

    version: str


R = TypeVar("R", bound=Result)


class Run:
    """One run's folder below ``runs_dir``.

    Raises:
        RunError: the run id is not safe as a folder's name.
    """

    def __init__(self, runs_dir: Path, run_id: str) -> None:
        if not _SAFE.fullmatch(run_id):
            raise RunError(f"run id {run_id!r}: letters, digits and _ . + - only, at most 200, not starting with a dot")
        self.run_id = run_id
        self.folder = runs_dir / run_id

    @property
    def extract(self) -> Path:
        """The extract's columns."""
        return self.folder / "extract"

    @property
    def catalogue(self) -> Path:
        """The films' years and genres, read with the extract."""
        return self.extract / "catalogue"

    @property
    def demographics(self) -> Path:
        """The viewers' groups, read with the extract."""
        return self.extract / "demographics"

    @property
    def model(self) -> Path:
        """The trained models' arrays, a folder for each."""
        return self.folder / "model"

    def result(self, kind: type[R]) -> R | None:
        """Return a step's result, None before it is complete.

        Raises:
            RunError: another release left it behind.
        """
        try:
            return kind.model_validate_json(self._path(kind).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise RunError(
                f"run {self.run_id}: {self._path(kind).name} is of another release; start a new run"
            ) from error

    def is_complete(self, kind: type[Result]) -> bool:
        """Return whether a step has a result, readable or not."""
        return self._path(kind).exists()

    def need(self, kind: type[R], step: str) -> R:
        """Return a step's result.

        Raises:
            RunError: the step has not been run.
        """
        found = self.result(kind)
        if found is None:
            raise RunError(f"run {self.run_id}: run the step `{step}` first")
        return found

    def complete(self, result: Result) -> None:
        """Write a step's result, atomically and last."""
        path = self._path(type(result))
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".tmp")
        with staging.open("w") as file:
            file.write(result.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        staging.rename(path)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Lock the folder, created if necessary, so that it is not deleted while a step works in it.

        The lock ends with the process. Steps of one run may hold it together.
        """
        with self._held() as lock:
            try:
                yield
            finally:
                os.utime(lock.fileno())  # idle from now on

    def _held(self) -> IO[str]:
        path = self.folder / LOCK_FILE
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = path.open("a")
            except FileNotFoundError:
                continue  # the folder was deleted meanwhile
            fcntl.flock(lock, fcntl.LOCK_SH)
            if is_still(lock, path):
                return lock
            lock.close()

    def discard_arrays(self) -> None:
        """Delete the arrays; the results stay, so that every step still counts as complete."""
        for folder in (self.extract, self.model):
            shutil.rmtree(folder, ignore_errors=True)

    def version(self, trained_at: datetime) -> str:
        """Return the version's name: time of training, then a hash of the run id. The same whenever it is asked for.

        >>> Run(Path("runs"), "nightly").version(datetime(2026, 11, 21, 3, 45, tzinfo=timezone.utc))
        '20261121T034500Z-2a3b62b5'
        """
        stamp = trained_at.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        return f"{stamp}-{hashlib.sha256(self.run_id.encode()).hexdigest()[:8]}"

    def _path(self, kind: type[Result]) -> Path:
        return self.folder / f"{kind.__name__.lower()}.json"


def is_still(file: IO[str], path: Path) -> bool:
    """Return whether the open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
