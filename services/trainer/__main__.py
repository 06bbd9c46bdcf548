"""The trainer's command line: ``python -m services.trainer STEP --run-id ID``.

Steps of a run, in order: check, extract, train, evaluate, publish, promote; ``run`` does all of them.
Each is safe to run again with the same run id, and does nothing when it is complete already.
Beside them: forget (erased viewers, in bundles, folders of runs and ClickHouse), prune (old bundles and folders of
runs), versions, rollback, mirror (the registry in MLflow), note-ended (of a step that was killed).
publish, promote, rollback, forget and prune end with `mirror` if there is an MLflow; its failure is a warning there.

Output: JSON log lines on stdout; the last line is the step's result, with the key ``version`` once
there is one. Progress bars go to stderr.

Exit status:
  0  done
  1  something failed that may succeed when tried again: a store does not answer, events are missing
  2  arguments or settings are wrong: trying again changes nothing
  3  the gate refused the model; the champion goes on serving
  4  not enough data to train on
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import asdict
from datetime import datetime, timezone

from services.common import clickhouse, kafka, postgres, registry
from services.common.erasure import erase
from services.common.registry import ModelVersion, RegistryError
from services.common.settings import SettingsError
from services.common.step_command import Answer, Command, ExitStatus, StepCommands, positive_int
from services.common.telemetry import configure_logging
from services.contracts.ids import UserId
from services.trainer import steps
from services.trainer.bundles.forget import forget
from services.trainer.bundles.prune import prune
from services.trainer.engines.spark import SparkDataError
from services.trainer.mirror import mlflow_client
from services.trainer.mirror.after import then_mirror
from services.trainer.mirror.mirror import mirror, mirror_lock
from services.trainer.mirror.mlflow_store import MlflowStore
from services.trainer.models.base import TrainingError
from services.trainer.run import Run, RunError
from services.trainer.run_folders import prune_runs
from services.trainer.settings import ForgetSettings, MirrorSettings, PruneSettings, RegistrySettings, TrainerSettings
from services.trainer.steps import GateRefusedError, NotEnoughDataError, Stores

log = logging.getLogger("services.trainer")


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    return commands().run(argv)


def commands() -> StepCommands:
    """Return all commands, with their arguments."""
    commands = StepCommands("trainer", __doc__, _exit_status)
    recorded = {name: commands.recorded(name, step) for name, step in _STEPS.items()}

    def run(options: argparse.Namespace) -> Answer:
        """Do all steps, from check to promote."""
        return _run(options, recorded)

    for name, step in (*_STEPS.items(), ("run", run)):
        parser = commands.add(name, step, is_recorded=name != "run")  # `run` records each of its steps
        parser.add_argument("--run-id", required=name != "run", default=f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
        if name in ("promote", "run"):
            parser.add_argument("--force", action="store_true", help="promote even if the gate refuses")
    commands.add("forget", _forget)
    commands.add("prune", _prune).add_argument(
        "--keep", type=positive_int, default=5, metavar="N",
        help="how many archived and rejected models to keep of each, and how many run folders (5)",
    )  # fmt: skip
    commands.add("versions", _versions, is_recorded=False)
    rollback = commands.add("rollback", _rollback, is_recorded=False)
    rollback.add_argument("--to", metavar="VERSION", help="a former champion; by default the last one")
    commands.add("mirror", _mirror)
    return commands


def _exit_status(error: BaseException) -> ExitStatus:
    match error:
        case SettingsError() | RunError() | RegistryError() | TrainingError() | SparkDataError():
            return ExitStatus.USAGE
        case GateRefusedError():
            return ExitStatus.GATE_REFUSED
        case NotEnoughDataError():
            return ExitStatus.NOT_ENOUGH_DATA
    return ExitStatus.FAILED


def _check(options: argparse.Namespace) -> Answer:
    """Check that every store answers and that there is enough data to train on."""
    return _with_stores(options, lambda run, settings, stores: {**steps.check(settings, stores)})


def _extract(options: argparse.Namespace) -> Answer:
    """Copy all signals from ClickHouse, once they are complete."""
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


@then_mirror
def _publish(options: argparse.Namespace) -> Answer:
    """Write the bundle and register it as a candidate."""
    return _with_stores(
        options, lambda run, settings, stores: steps.publish_bundle(run, settings, stores).model_dump(mode="json")
    )


@then_mirror
def _promote(options: argparse.Namespace) -> Answer:
    """Promote the model to champion, if the gate accepts it."""
    return _with_stores(
        options, lambda run, settings, stores: _row(steps.promote(run, settings, stores, force=options.force))
    )


def _run(options: argparse.Namespace, recorded: Mapping[str, Command]) -> Answer:
    answer: Answer = {}
    held: AbstractContextManager[None] = nullcontext()
    with suppress(SettingsError, RunError):  # which the first step raises again, and writes down
        held = Run(_trainer_settings().runs_dir, options.run_id).in_use()
    with held:  # also between the steps
        for name, step in recorded.items():
            started = time.perf_counter()
            answer = step(options)
            log.info("%s is done", name, extra={"seconds": round(time.perf_counter() - started, 3), "result": answer})
    return answer


_STEPS: dict[str, Command] = {
    "check": _check,
    "extract": _extract,
    "train": _train,
    "evaluate": _evaluate,
    "publish": _publish,
    "promote": _promote,
}


@then_mirror
def _prune(options: argparse.Namespace) -> Answer:
    """Delete old bundles, except those being served or needed for a rollback, and folders of finished runs."""
    settings = PruneSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    now = datetime.now(timezone.utc)
    runs = prune_runs(settings.runs_dir, options.keep, now)  # first, as it needs no store
    with closing(postgres.connect_when_up(settings.postgres_dsn)) as connection:
        return {"runs": runs, **asdict(prune(settings.model_dir, connection, options.keep, now))}


@then_mirror
def _forget(_: argparse.Namespace) -> Answer:
    """Delete erased viewers from bundles, run folders and ClickHouse, independent of the night's model."""
    settings = ForgetSettings.from_environment()
    configure_logging("trainer", settings.log_level)

    def in_clickhouse(viewers: frozenset[UserId]) -> None:
        with closing(clickhouse.connect(settings.clickhouse_url)) as client:
            erase(client, *sorted(viewers))

    with closing(postgres.connect_when_up(settings.postgres_dsn)) as connection:
        return forget(
            settings.model_dir,
            settings.runs_dir,
            connection,
            in_clickhouse=in_clickhouse,
            now=datetime.now(timezone.utc),
        ).answer()


def _versions(_: argparse.Namespace) -> Answer:
    """List the registry's newest versions."""
    settings = RegistrySettings.from_environment()
    configure_logging("trainer", settings.log_level)
    with closing(postgres.connect_when_up(settings.postgres_dsn)) as connection:
        return {"versions": [_row(version) for version in registry.versions(connection)]}


@then_mirror
def _rollback(options: argparse.Namespace) -> Answer:
    """Make an earlier champion the champion again."""
    settings = RegistrySettings.from_environment()
    configure_logging("trainer", settings.log_level)
    with closing(postgres.connect_when_up(settings.postgres_dsn)) as connection:
        return _row(registry.rollback(connection, options.to, "rollback by command"))


def _mirror(_: argparse.Namespace) -> Answer:
    """Make MLflow agree with the registry, however long it takes."""
    settings = MirrorSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    address = settings.mlflow_tracking_uri
    if not address:
        raise SettingsError("settings: MLFLOW_TRACKING_URI: not set, so there is nowhere to mirror to")
    with closing(postgres.connect_when_up(settings.postgres_dsn)) as connection, mirror_lock(connection):
        store = MlflowStore(mlflow_client.connect(address), address)
        return mirror(registry.kept(connection), store, settings.model_dir).answer()


def _with_stores(options: argparse.Namespace, step: Callable[[Run, TrainerSettings, Stores], Answer]) -> Answer:
    settings = _trainer_settings()
    run = Run(settings.runs_dir, options.run_id)
    with (
        run.in_use(),
        closing(postgres.connect_when_up(settings.postgres_dsn)) as connection,
        closing(clickhouse.connect_when_up(settings.clickhouse_url)) as client,
    ):
        stores = Stores(connection, client, kafka.admin(settings.kafka_bootstrap_servers))
        return {"run_id": run.run_id, **step(run, settings, stores)}


def _trainer_settings() -> TrainerSettings:
    settings = TrainerSettings.from_environment()
    configure_logging("trainer", settings.log_level)
    return settings


def _row(version: ModelVersion) -> Answer:
    return asdict(version)


if __name__ == "__main__":
    sys.exit(main())
