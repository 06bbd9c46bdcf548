"""The mirror's part of an MLflow server: an experiment and a registered model. Every method blocks on the server."""

from collections.abc import Mapping
from typing import Any

from services.contracts.bundle import Manifest
from services.trainer.mirror.contents import BUNDLE_VERSION, MANIFEST_WITHOUT_CANARIES, Contents
from services.trainer.mirror.mlflow_client import Client
from services.trainer.mirror.plan import FoundModel, FoundRun

NAME = "movierecs"
"""The experiment and the registered model."""
ALIAS = "champion"
REMOVED = "files_removed"
"""Tag of a run whose files are gone: MLflow itself only marks a run as deleted."""
_PROXIED = "mlflow-artifacts:"
_PAGE = 1000
_AT_ONCE = 100
"""Parameters that MLflow takes in one request."""


class MirrorError(Exception):
    """MLflow could not be made to agree; the message says in what. Everything else is done."""


class MlflowStore:
    """What the mirror reads and changes in MLflow.

    Runs and models without the tag `BUNDLE_VERSION`, which people made by hand, are not seen.

    Raises:
        MirrorError: the server does not keep the files itself, so that they could not be removed through it.
    """

    def __init__(self, client: Client, tracking_uri: str) -> None:
        self._client = client
        self._tracking_uri = tracking_uri
        self._experiment_id = self._experiment()
        if not client.search_registered_models(f"name='{NAME}'"):
            client.create_registered_model(NAME)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(NAME)
        if found is None:
            found = self._client.get_experiment(self._client.create_experiment(NAME))
        elif found.lifecycle_stage != "active":
            self._client.restore_experiment(found.experiment_id)
        if not found.artifact_location.startswith(_PROXIED):
            raise MirrorError(f"MLflow must serve the files of its runs itself; they are at {found.artifact_location}")
        return str(found.experiment_id)

    def runs(self) -> list[FoundRun]:
        """Return the runs, oldest first, also deleted ones that may still have files."""
        from mlflow.entities import ViewType  # noqa: PLC0415

        def page(token: str | None) -> Any:
            return self._client.search_runs(
                [self._experiment_id], run_view_type=ViewType.ALL, max_results=_PAGE, page_token=token,
                order_by=["attributes.start_time ASC"],
            )  # fmt: skip

        return [
            FoundRun(
                id=run.info.run_id,
                bundle_version=run.data.tags[BUNDLE_VERSION],
                artifact_uri=run.info.artifact_uri,
                is_deleted=run.info.lifecycle_stage == "deleted",
                is_complete=run.info.status == "FINISHED"
                and run.info.lifecycle_stage == "active"
                and REMOVED not in run.data.tags,
            )
            for run in _every(page)
            if BUNDLE_VERSION in run.data.tags and not _is_removed(run)
        ]

    def models(self) -> list[FoundModel]:
        """Return the versions of the registered model, oldest first."""

        def page(token: str | None) -> Any:
            return self._client.search_model_versions(f"name='{NAME}'", max_results=_PAGE, page_token=token)

        return [
            FoundModel(str(model.version), model.tags[BUNDLE_VERSION], model.run_id, dict(model.tags))
            for model in sorted(_every(page), key=lambda model: int(model.version))
            if BUNDLE_VERSION in model.tags
        ]

    def remove_run(self, run: FoundRun) -> None:
        """Delete the run's files, then mark it as deleted. Its metrics and parameters go with `mlflow gc`."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415

        if run.is_deleted:
            self._client.restore_run(run.id)  # a deleted run takes no tag
        get_artifact_repository(run.artifact_uri, tracking_uri=self._tracking_uri).delete_artifacts()
        self._client.set_tag(run.id, REMOVED, "true")
        self._client.delete_run(run.id)

    def remove_model(self, model: FoundModel) -> None:
        """Delete the version of the registered model, and an alias that names it."""
        self._client.delete_model_version(NAME, model.number)

    def add_run(self, manifest: Manifest, contents: Contents) -> FoundRun:
        """Upload everything. An interruption leaves a run that is not complete."""
        from mlflow.entities import Metric, Param  # noqa: PLC0415

        end = int(manifest.created_at.timestamp() * 1000)
        start = end - int(1000 * float(manifest.parameters.get("train_seconds", 0)))
        made = self._client.create_run(
            self._experiment_id, start_time=start, tags=contents.tags, run_name=manifest.version
        )
        run_id = str(made.info.run_id)
        self._client.log_batch(run_id, metrics=[Metric(*pair, end, 0) for pair in contents.metrics.items()])
        parameters = [Param(*pair) for pair in contents.parameters.items()]
        for first in range(0, len(parameters), _AT_ONCE):
            self._client.log_batch(run_id, params=parameters[first : first + _AT_ONCE])
        self._client.log_text(run_id, contents.manifest, MANIFEST_WITHOUT_CANARIES)
        for path, folder in contents.files:
            self._client.log_artifact(run_id, str(path), folder)
        self._client.set_terminated(run_id, "FINISHED", end)
        return FoundRun(run_id, manifest.version, made.info.artifact_uri, is_deleted=False, is_complete=True)

    def add_model(self, run: FoundRun, tags: Mapping[str, str]) -> FoundModel:
        """Make the version of the registered model that is of this run."""
        tags = {BUNDLE_VERSION: run.bundle_version, **tags}
        made = self._client.create_model_version(
            NAME, source=run.artifact_uri, run_id=run.id, tags=tags, await_creation_for=None
        )
        return FoundModel(str(made.version), run.bundle_version, run.id, tags)

    def set_tags(self, model: FoundModel, tags: Mapping[str, str]) -> None:
        """Set those tags of a version of the registered model that differ."""
        for name, value in tags.items():
            if model.tags.get(name) != value:
                self._client.set_model_version_tag(NAME, model.number, name, value)

    def set_champion(self, model: FoundModel | None) -> None:
        """Let the alias name this version; None: no version."""
        named = self._client.get_registered_model(NAME).aliases.get(ALIAS)
        if model is None and named is not None:
            self._client.delete_registered_model_alias(NAME, ALIAS)
        elif model is not None and str(named) != model.number:
            self._client.set_registered_model_alias(NAME, ALIAS, model.number)


def _is_removed(run: Any) -> bool:
    """Whether it is as `remove_run` leaves it; restored by hand, it is not."""
    return REMOVED in run.data.tags and run.info.lifecycle_stage == "deleted"


def _every(page: Any) -> list[Any]:
    found, token = [], None
    while True:
        some = page(token)
        found += some
        token = some.token
        if not token:
            return found
