"""The recipe of a bundle: everything besides the data that determines its models."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.common.kinds import UnknownKindError
from services.contracts.bundle import ConfidenceParameters, Name
from services.models.loader import in_order
from services.trainer.models.base import kind_of

ALWAYS = {"als", "popular"}
"""Kinds that are among the models of every bundle."""


class ModelRecipe(BaseModel):
    """One model: its kind, and the kind's parameters with all defaults filled in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Name
    parameters: dict[str, Any] = Field(default_factory=dict, validate_default=True)

    @field_validator("parameters")
    @classmethod
    def _as_the_kind_has_them(cls, given: dict[str, Any], info: Any) -> dict[str, Any]:
        try:
            kind = kind_of(info.data["kind"]) if "kind" in info.data else None
        except UnknownKindError as error:
            raise ValueError(str(error)) from error
        return given if kind is None else kind.Parameters.model_validate(given).model_dump(mode="json")

    @property
    def uses(self) -> list[str]:
        """The other models of the recipe that it combines."""
        return list(self.parameters.get("models", []))


def default_models() -> dict[str, ModelRecipe]:
    """Return the default models: one of each kind in `ALWAYS`, named after it."""
    return {kind: ModelRecipe(kind=kind) for kind in sorted(ALWAYS)}


class Recipe(BaseModel):
    """Equal recipes on equal data give equal models."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: ConfidenceParameters = ConfidenceParameters()
    recent_days: int = Field(default=7, ge=1)
    models: dict[Name, ModelRecipe] = Field(default_factory=default_models)
    default_model: Name = "als"

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, given: Any) -> Any:
        """Convert a recipe of bundle format 1, which has the parameters of iALS, its only model, among the bundle's."""
        if not isinstance(given, dict) or "models" in given:
            return given
        shared = {name: given[name] for name in given if name in cls.model_fields}
        als = {name: value for name, value in given.items() if name not in shared}
        return shared | {"models": {"als": {"kind": "als", "parameters": als}, "popular": {"kind": "popular"}}}

    @model_validator(mode="after")
    def _is_complete(self) -> "Recipe":
        missing = ALWAYS - {model.kind for model in self.models.values()}
        if missing:
            raise ValueError(f"there must be a model of the kind {' and one of '.join(sorted(missing))}")
        in_order({name: model.uses for name, model in self.models.items()})
        if self.default_model not in self.models:
            raise ValueError(f"default_model {self.default_model!r} is not one of the models {sorted(self.models)}")
        return self
