"""The trainer's settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from services.common.settings import ClickHouseSettings, KafkaSettings, LogSettings, ModelSettings, PostgresSettings
from services.contracts.bundle import ConfidenceParameters
from services.trainer.engines import spark
from services.trainer.engines.spark_session import SparkSettings
from services.trainer.evaluation.gate import GateLimits
from services.trainer.models.base import Engine, fit_model
from services.trainer.models.defaults import DEFAULTS, default_recipe
from services.trainer.models.recipe import ModelRecipe, Recipe


class TrainerSettings(KafkaSettings, ClickHouseSettings, PostgresSettings, ModelSettings, LogSettings):
    """Addresses, folders, the recipe, the split and the gate's limits.

    Raises:
        SettingsError: also when the recipe is not valid: an unknown kind of model, or one that must be there is not.
    """

    runs_dir: Path = Field(description="Where each run keeps its intermediate results.")
    code_revision: str = Field(default="unknown", description="Recorded in the bundle's manifest.")

    trainer_engine: Literal["local", "spark"] = Field(
        default="local", description="Where iALS is trained: on this machine, or on Apache Spark."
    )
    trainer_spark: SparkSettings = Field(
        default=SparkSettings(), description="JSON: where Spark runs and how much it may take."
    )
    trainer_models: list[str] = Field(
        default=list(DEFAULTS), description="JSON: the models to train; with `als` and `popular`."
    )
    trainer_default_model: str = Field(
        default="two_stage", description="The model that the gate judges and that is served by default."
    )
    trainer_factors: int = Field(default=128, ge=1, description="Factors of iALS.")
    trainer_alpha: float = Field(default=3.0, gt=0, description="Confidence of a positive of weight 1.")
    trainer_regularization: float | None = Field(
        default=None, ge=0, description="Regularization of iALS; unset: grows with the number of positives."
    )
    trainer_iterations: int = Field(default=15, ge=1, description="Iterations of iALS.")
    trainer_seed: int = Field(default=42, description="Seed of the initial factors.")
    trainer_recent_days: int = Field(default=7, ge=1, description='What "recent" means in recent popularity.')
    trainer_confidence: ConfidenceParameters = Field(
        default=ConfidenceParameters(), description="JSON: the weight of each signal."
    )
    trainer_test_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the signals, the latest ones, used for evaluation."
    )
    trainer_min_positives: int = Field(default=1_000, ge=1, description="The fewest positives to train on.")
    trainer_wait_seconds: float = Field(
        default=300, ge=0, description="How long to wait for ClickHouse to hold what Kafka held at the start."
    )
    trainer_gate: GateLimits = Field(default=GateLimits(), description="JSON: how much worse a new model may be.")

    @model_validator(mode="after")
    def _recipe_is_valid(self) -> "TrainerSettings":
        self.recipe()
        return self

    def engine(self) -> Engine:
        """Return what trains the models."""
        return fit_model if self.trainer_engine == "local" else spark.engine(self.trainer_spark, self.clickhouse_url)

    def recipe(self) -> Recipe:
        """Return the recipe of the bundle to make."""
        return Recipe(
            confidence=self.trainer_confidence,
            recent_days=self.trainer_recent_days,
            models={name: self._model(name) for name in self.trainer_models},
            default_model=self.trainer_default_model,
        )

    def _model(self, name: str) -> ModelRecipe:
        if name != "als":
            return default_recipe(name)
        return default_recipe(
            name,
            factors=self.trainer_factors,
            alpha=self.trainer_alpha,
            regularization=self.trainer_regularization,
            iterations=self.trainer_iterations,
            seed=self.trainer_seed,
        )


class PruneSettings(ModelSettings, PostgresSettings, LogSettings):
    """What `prune` needs."""

    runs_dir: Path = Field(description="Where each run keeps its intermediate results.")


class ForgetSettings(PruneSettings, ClickHouseSettings):
    """What `forget` needs."""


class RegistrySettings(PostgresSettings, LogSettings):
    """What the registry's commands need."""


class MlflowSettings(LogSettings):
    """Where the registry is mirrored to."""

    mlflow_tracking_uri: str = Field(
        default="",
        pattern=r"^(https?://[^@\s]+)?$",  # a password in it would get into messages of errors
        description="Address of an MLflow server that mirrors the registry, http(s)://host:port; empty: none.",
    )


class MirrorSettings(MlflowSettings, ModelSettings, PostgresSettings):
    """What `mirror` needs."""
