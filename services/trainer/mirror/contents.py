"""What of a bundle goes to MLflow. Pure but for reading the bundle.

Nothing that belongs to a single viewer is uploaded: not the viewers' ids and histories, not a model's rows of viewers
(such as the viewers' factors), not the canary lists of the manifest. MLflow is a place to compare models; whoever may
look at its pages may not therefore look at what a viewer watched, and its backups and downloaded files are out of reach
of an erasure. Uploaded are the recipe, the metrics, the manifest without canaries, the arrays about films and the
report, which has only sums over viewers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.common.bundle import Bundle
from services.common.kinds import UnknownKindError
from services.contracts.bundle import FORMAT_1_FILES, MODELS_FOLDER, REPORT_HTML, REPORT_MARKDOWN, Manifest
from services.trainer.models.base import kind_of

BUNDLE_VERSION = "bundle_version"
"""The tag that names our version, of a run and of a model version in MLflow."""
MANIFEST_WITHOUT_CANARIES = "manifest.json"
ABOUT_FILMS = ("item_ids", "item_genres", "popularity", "popularity_recent")
"""The shared arrays with no row of a viewer; any other is withheld, also one that the contract gets later."""
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_\-. :/]")


@dataclass(frozen=True)
class Contents:
    """One run of MLflow."""

    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    manifest: str
    """JSON, without canaries."""
    files: list[tuple[Path, str | None]]
    """Each file, and the folder of the run's artifacts that it goes to (None: the top)."""


def contents(bundle: Bundle) -> Contents:
    """Return what MLflow is to hold of the bundle."""
    manifest = bundle.manifest
    return Contents(
        tags={
            BUNDLE_VERSION: manifest.version,
            "run_id": manifest.run_id,
            "code_revision": manifest.code_revision,
            "topic_id": manifest.topic_id or "",
        },
        parameters=flat(manifest.parameters.get("recipe", {})),
        metrics={safe_name(name): value for name, value in manifest.metrics.items()},
        manifest=_without_canaries(manifest).model_dump_json(indent=2),
        files=list(_files(bundle)),
    )


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the leaves of a nested mapping as text, named by their path.

    >>> flat({"recent_days": 7, "models": {"als": {"factors": 128, "regularization": None}}})
    {'recent_days': '7', 'models.als.factors': '128', 'models.als.regularization': 'None'}
    """
    leaves: dict[str, str] = {}
    for name, value in nested.items():
        path = f"{prefix}{name}"
        leaves |= flat(value, f"{path}.") if isinstance(value, Mapping) else {safe_name(path): str(value)}
    return leaves


def safe_name(name: str) -> str:
    """Return the name with an underscore for each character that MLflow refuses in one.

    >>> safe_name("als_ndcg@10")
    'als_ndcg_10'
    """
    return _NOT_IN_A_NAME.sub("_", name)


def _without_canaries(manifest: Manifest) -> Manifest:
    models = {name: model.model_copy(update={"canaries": []}) for name, model in manifest.models.items()}
    return manifest.model_copy(update={"models": models})


def _files(bundle: Bundle) -> Iterator[tuple[Path, str | None]]:
    yield from ((bundle.path / name, None) for name in (REPORT_HTML, REPORT_MARKDOWN) if (bundle.path / name).is_file())
    yield from ((bundle.path / f"{name}.npy", None) for name in ABOUT_FILMS)
    moved = FORMAT_1_FILES if bundle.manifest.format == 1 else {}
    for model in bundle.models:
        for array in arrays_about_films(bundle, model):
            name = f"{MODELS_FOLDER}/{model}/{array}.npy"
            yield bundle.path / moved.get(name, name), f"{MODELS_FOLDER}/{model}"


def arrays_about_films(bundle: Bundle, model: str) -> list[str]:
    """Return a model's own arrays that hold nothing of a single viewer: those that removing every viewer leaves as is.

    The kind's `without`, by which erased viewers leave a bundle, decides, so that a new kind needs no list here. Of a
    model whose kind this release does not have, none is known to be free of viewers.
    """
    try:
        kind = kind_of(bundle.manifest.models[model].kind)
    except UnknownKindError:
        return []
    arrays = bundle.models[model]
    nobody = np.zeros(len(bundle.arrays["user_ids"]), np.bool_)
    every_film = np.ones(len(bundle.arrays["item_ids"]), np.bool_)
    left = kind.without(arrays, nobody, every_film)
    return [name for name, array in arrays.items() if name in left and _is_equal(array, left[name])]


def _is_equal(array: Any, other: Any) -> bool:
    return array.shape == other.shape and bool(np.array_equal(array, other, equal_nan=array.dtype.kind == "f"))
