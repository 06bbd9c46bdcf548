"""The models that are trained unless the settings say otherwise, by name."""

from typing import Any

from services.trainer.models.recipe import ModelRecipe

_RECENT = {"recency_boost": 10.0, "recency_decay": 0.9}

DEFAULTS: dict[str, ModelRecipe] = {
    name: ModelRecipe(kind=kind, parameters=parameters)
    for name, kind, parameters in (
        ("als", "als", _RECENT),
        ("als_broad", "als", {"factors": 64, "regularization": 100}),
        ("ease", "ease", _RECENT),
        ("item_knn", "item_knn", _RECENT),
        ("popular", "popular", {}),
        ("popular_recent", "popular", {"window_days": 7}),
        ("popular_by_genre", "popular_by_genre", _RECENT),
        ("popular_by_group", "popular_by_group", {}),
        ("stars", "stars", {}),
        ("blend", "blend", {"models": ["als", "als_broad", "ease", "popular_recent"]}),
        ("two_stage", "two_stage", {"models": ["als", "ease", "popular_recent"]}),
    )
}
"""Strong regularization and few factors (``als_broad``) suit lists of all that a viewer will like later, the other
models the next film that they like; the ranker and the blend learn when to trust which."""


def default_recipe(name: str, **parameters: Any) -> ModelRecipe:
    """Return the recipe of the default model of that name, or else of the kind of that name, with other ``parameters``.

    Raises:
        pydantic.ValidationError: there is neither, or a parameter is not one of the kind's.
    """
    known = DEFAULTS.get(name)
    if known is None:
        return ModelRecipe(kind=name, parameters=parameters)
    return ModelRecipe(kind=known.kind, parameters=known.parameters | parameters)
