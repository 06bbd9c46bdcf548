"""The trainer's command line: ``python -m services.trainer STEP --run-id ID``.

Steps of a run, in order: check, extract, train, evaluate, publish, promote; ``run`` does all of them.
Each is safe to run again with the same run id, and does nothing when it is complete already.
Beside them: load (MovieLens), import-files (what has landed), forget (erased viewers, in bundles, folders of runs and
landed files), prune (old bundles and folders of runs), versions, rollback, note-ended (of a step that was killed).

Output: JSON log lines on stdout; the last line is the step's result, with the key ``version`` once
there is one. Progress bars go to stderr.

Exit status:
  0  done
  1  something failed that may succeed when tried again: a store does not answer, events are missing
  2  arguments, settings or files are wrong: trying again changes nothing
  3  the gate refused the model; the champion goes on serving
  4  not enough data to train on
  5  files were refused or had to be left, all others are imported; the reports are in failed/ (see
     services/trainer/landing.py)
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from services.common import clickhouse, kafka, postgres, registry, tracing
from services.common.erasure import erase
from services.common.registry import ModelVersion, RegistryError
from services.common.settings import ClickHouseSettings, LogSettings, PostgresSettings, SettingsError
from services.common.telemetry import configure_logging
from services.common.waiting import wait_for
from services.contracts.ids import UserId
from services.contracts.logs import RUN_ID, log_context
from services.trainer import steps
from services.trainer.bundles.forget import forget
from services.trainer.bundles.prune import prune
from services.trainer.file_store import note_rewritten
from services.trainer.forget_files import forget_in_files
from services.trainer.landing import EmptyCatalogueError, Imported, import_files
from services.trainer.load import load
from services.trainer.movielens_tables import MovieLensError
from services.trainer.run import Run, RunError
from services.trainer.run_folders import prune_runs
from services.trainer.settings import (
    ForgetSettings,
    ImportSettings,
    LoadSettings,
    PruneSettings,
    RegistrySettings,
    TrainerSettings,
)
from services.trainer.step_log import note_step
from services.trainer.steps import GateRefusedError, NotEnoughDataError, Stores

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_GATE_REFUSED, EXIT_NOT_ENOUGH_DATA, EXIT_FILES_REFUSED = range(6)
_MEANING = {EXIT_GATE_REFUSED: "the gate refused the model: ", EXIT_NOT_ENOUGH_DATA: "not enough data: "}
_WAIT_FOR_STORES_SECONDS = 60

log = logging.getLogger("services.trainer")
Answer = dict[str, Any]


class FilesRefusedError(Exception):
    """Files had bad lines or could not be moved; everything else was imported."""

    def __init__(self, imported: Imported) -> None:
        left = f", {len(imported.left)} could not be read or moved and stay where they are" if imported.left else ""
        super().__init__(f"{len(imported.refused)} of the files were refused; the reports are in failed/{left}")
        self.imported = imported


def main(argv: list[str] | None = None) -> int:
    """Parse, run the step, and translate errors into exit status."""
    options = _parser().parse_args(argv)
    tracing.configure_tracing("trainer")
    try:
        answer = options.command(options)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except Exception as error:
        status = _exit_status(error)
        if status == EXIT_FAILED:
            log.exception("%s failed", options.name)
        else:
            refused = asdict(error.imported) if isinstance(error, FilesRefusedError) else {}
            meaning = _MEANING.get(status, "")
            log.error("%s%s", meaning, error, extra={"step": options.name, **refused})  # noqa: TRY400
        return status
    print(json.dumps({"step": options.name, **answer}, default=str), flush=True)
    return EXIT_OK


def _exit_status(error: BaseException) -> int:
    match error:
        case SettingsError() | MovieLensError() | RunError() | RegistryError():
            return EXIT_USAGE
        case GateRefusedError():
            return EXIT_GATE_REFUSED
        case NotEnoughDataError() | EmptyCatalogueError():
            return EXIT_NOT_ENOUGH_DATA
        case FilesRefusedError():
            return EXIT_FILES_REFUSED
    return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.trainer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="STEP")

    def add(name: str, command: Callable[[argparse.Namespace], Answer]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command if name in _NOT_NOTED else _noted(name, command))
        return sub

    for name, command in _STEPS.items():
        sub = add(name, command)
        sub.add_argument("--run-id", required=name != "run", default=f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
        if name in ("promote", "run"):
            sub.add_argument("--force", action="store_true", help="promote whatever the gate says")
    add("load", _load).add_argument("--movielens", type=Path, required=True, help="folder with the data set")
    add("import-files", _import_files)
    add("forget", _forget)
    add("prune", _prune).add_argument(
        "--keep", type=_positive, default=5, metavar="N",
        help="how many replaced and how many refused models stay, and how many folders of runs (5)",
    )  # fmt: skip
    ended = add("note-ended", _note_ended)
    ended.add_argument("step", help="the step that was ended by a signal, and could not say so itself")
    ended.add_argument("--run-id", default="", help="of its run, if it was of one")
    ended.add_argument("--status", type=_positive, required=True, help="128 and the signal's number")
    ended.add_argument("--started-at", type=datetime.fromisoformat, required=True, help="ISO 8601 with a zone")
    add("versions", _versions)
    add("rollback", _rollback).add_argument("--to", metavar="VERSION", help="an earlier champion, not the last one")
    return parser


def _noted(name: str, step: Callable[[argparse.Namespace], Answer]) -> Callable[[argparse.Namespace], Answer]:
    """Wrap a step: its log lines carry the run's id, it is a span, and how it ended is written down."""

    def noted(options: argparse.Namespace) -> Answer:
        started_at = datetime.now(timezone.utc)
        run_id = getattr(options, "run_id", "")
        with log_context(**{RUN_ID: run_id} if run_id else {}), tracing.span(name):
            try:
                answer = step(options)
            except (Exception, SettingsError) as error:
                note_step(run_id, name, _exit_status(error), started_at)
                raise
            note_step(run_id, name, EXIT_OK, started_at)
        return answer

    return noted


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)


def _check(options: argparse.Namespace) -> Answer:
    """Reach every store and say whether there is enough to train on."""
    return _with_stores(options, lambda run, settings, stores: {**steps.check(settings, stores)})


def _extract(options: argparse.Namespace) -> Answer:
    """Copy all signals out of ClickHouse, once they are complete."""
    return _with_stores(
        options, lambda run, settings, stores: steps.extract(run, settings, stores).model_dump(mode="json")
    )


def _train(options: argparse.Namespace) -> Answer:
    """Train the model to serve on the extract."""
    settings = _trainer_settings()
    run = Run(settings.runs_dir, options.run_id)
    with run.in_use():
        return {"run_id": run.run_id, **steps.train(run, settings).model_dump(mode="json")}


def _evaluate(options: argparse.Namespace) -> Answer:
    """Measure the recipe on a time split of the extract."""
    return _with_stores(
        options, lambda run, settings, stores: steps.measure(run, settings, stores).model_dump(mode="json")
    )


def _publish(options: argparse.Namespace) -> Answer:
    """Write the bundle and register it as a candidate."""
    return _with_stores(
        options, lambda run, settings, stores: steps.publish_bundle(run, settings, stores).model_dump(mode="json")
    )


def _promote(options: argparse.Namespace) -> Answer:
    """Make the model the champion, if the gate agrees."""
    return _with_stores(
        options, lambda run, settings, stores: _row(steps.promote(run, settings, stores, force=options.force))
    )


def _run(options: argparse.Namespace) -> Answer:
    """Do all steps, from check to promote."""
    answer: Answer = {}
    held: AbstractContextManager[None] = nullcontext()
    with suppress(SettingsError, RunError):  # which the first step raises again, and writes down
        held = Run(_trainer_settings().runs_dir, options.run_id).in_use()
    with held:  # also between the steps
        for name, step in _STEPS.items():
            if name == "run":
                continue
            started = time.perf_counter()
            answer = _noted(name, step)(options)
            log.info("%s is done", name, extra={"seconds": round(time.perf_counter() - started, 3), "result": answer})
    return answer


_STEPS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "check": _check,
    "extract": _extract,
    "train": _train,
    "evaluate": _evaluate,
    "publish": _publish,
    "promote": _promote,
    "run": _run,
}
_NOT_NOTED = frozenset({"run", "versions", "rollback", "note-ended"})
"""Not steps of a run themselves: `run` notes each of its own, the others change nothing that a night does."""


def _load(options: argparse.Namespace) -> Answer:
    """Load a MovieLens data set: catalogue, users and ratings."""
    settings = LoadSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    with closing(_postgres(settings)) as connection, closing(_clickhouse(settings)) as client:
        return asdict(load(options.movielens, connection, client, datetime.now(timezone.utc)))


def _import_files(_: argparse.Namespace) -> Answer:
    """Take up the files of ratings that have landed."""
    settings = ImportSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    with closing(_postgres(settings)) as connection, closing(_clickhouse(settings)) as client:
        imported = import_files(settings.landing_dir, connection, client, datetime.now(timezone.utc))
    if imported.refused or imported.left:
        raise FilesRefusedError(imported)
    return asdict(imported)


def _prune(options: argparse.Namespace) -> Answer:
    """Delete old bundles, not what is served or what a rollback goes to, and folders of runs that have ended."""
    settings = PruneSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    now = datetime.now(timezone.utc)
    runs = prune_runs(settings.runs_dir, options.keep, now)  # first: it needs no store
    with closing(_postgres(settings)) as connection:
        return {"runs": runs, **asdict(prune(settings.model_dir, connection, options.keep, now))}


def _forget(_: argparse.Namespace) -> Answer:
    """Forget erased viewers in bundles, folders of runs and landed files, whatever became of the night's model."""
    settings = ForgetSettings.from_environment()
    configure_logging("trainer", settings.log_level)

    def in_clickhouse(viewers: frozenset[UserId]) -> None:
        with closing(clickhouse.connect(settings.clickhouse_url)) as client:
            erase(client, *sorted(viewers))

    with closing(_postgres(settings)) as connection:
        return forget(
            settings.model_dir,
            settings.runs_dir,
            connection,
            in_clickhouse=in_clickhouse,
            in_files=lambda viewers: forget_in_files(
                settings.landing_dir, viewers, partial(note_rewritten, connection)
            ),
            now=datetime.now(timezone.utc),
        ).answer()


def _note_ended(options: argparse.Namespace) -> Answer:
    """Write down how a step ended that was killed."""
    configure_logging("trainer", LogSettings.from_environment().log_level)
    note_step(options.run_id, options.step, options.status, options.started_at)
    return {"ended": options.step, "status": options.status}


def _versions(_: argparse.Namespace) -> Answer:
    """List the registry's newest versions."""
    settings = RegistrySettings.from_environment()
    configure_logging("trainer", settings.log_level)
    with closing(_postgres(settings)) as connection:
        return {"versions": [_row(version) for version in registry.versions(connection)]}


def _rollback(options: argparse.Namespace) -> Answer:
    """Make an earlier champion the champion again."""
    settings = RegistrySettings.from_environment()
    configure_logging("trainer", settings.log_level)
    with closing(_postgres(settings)) as connection:
        return _row(registry.rollback(connection, options.to, "rollback by command"))


def _with_stores(options: argparse.Namespace, step: Callable[[Run, TrainerSettings, Stores], Answer]) -> Answer:
    settings = _trainer_settings()
    run = Run(settings.runs_dir, options.run_id)
    with run.in_use(), closing(_postgres(settings)) as connection, closing(_clickhouse(settings)) as client:
        stores = Stores(connection, client, kafka.admin(settings.kafka_bootstrap_servers))
        return {"run_id": run.run_id, **step(run, settings, stores)}


def _trainer_settings() -> TrainerSettings:
    settings = TrainerSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    return settings


def _postgres(settings: PostgresSettings) -> Any:
    return wait_for(
        "PostgreSQL", lambda: postgres.connect(settings.postgres_dsn), timeout_seconds=_WAIT_FOR_STORES_SECONDS
    )


def _clickhouse(settings: ClickHouseSettings) -> Any:
    return wait_for(
        "ClickHouse", lambda: clickhouse.connect(settings.clickhouse_url), timeout_seconds=_WAIT_FOR_STORES_SECONDS
    )


def _row(version: ModelVersion) -> Answer:
    return asdict(version)


if __name__ == "__main__":
    sys.exit(main())
