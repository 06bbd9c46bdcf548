"""The model bundle: a directory per version with `manifest.json`, arrays that all models share, and a folder per model.

The trainer writes it under a temporary name and renames it once complete; nobody changes it afterwards.
`services.common.bundle` writes and opens it. Shared arrays are ``<name>.npy``, a model's own are
``models/<model>/<name>.npy``. The model's *kind* defines those (`services.trainer.models.kinds` and
`services.models.kinds`, one file per kind on each side).
"""

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

BUNDLE_FORMAT = 2
MANIFEST_FILE = "manifest.json"
MODELS_FOLDER = "models"
REPORT_HTML, REPORT_MARKDOWN = "report.html", "report.md"
"""The report of the evaluation, for people; a bundle may have none."""

# name -> (dtype, dimensions); n_items, n_users: what the models know; nnz: signals of known users.
SHARED_ARRAYS: dict[str, tuple[str, int]] = {
    "item_ids": ("int64", 1),  # (n_items,) ascending
    "user_ids": ("int64", 1),  # (n_users,) ascending
    "popularity": ("float32", 1),  # (n_items,) distinct viewers who like it, all time
    "popularity_recent": ("float32", 1),  # (n_items,) the same within manifest.parameters["recent_days"]
    "item_genres": ("uint8", 2),  # (n_items, n_genres) 0/1, genre names in manifest.genres
    # Signals per user, the viewer's history up to the extract, over *all* items of the catalogue
    "history_indptr": ("int64", 1),  # (n_users + 1,) row u is [indptr[u], indptr[u+1])
    "history_item_ids": ("int64", 1),  # (nnz,) item ids (not indices), ascending within a row
    "history_opinion": ("int8", 1),  # (nnz,) +1, -1, 0
    "history_rating": ("float32", 1),  # (nnz,) NaN: not rated
    "history_watched": ("uint8", 1),  # (nnz,)
    "history_versions": (
        "uint64",
        3,
    ),  # (nnz, 3 signals [opinion, rating, watched], 2 [time µs, the version's low 64 bits]); 0: unset
}

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""The name of a model, a kind or an array, which is also a folder's, a file's or a Python module's name."""
_ARRAY_FILE = r"^(models/[a-z][a-z0-9_]{0,31}/)?[a-z][a-z0-9_]{0,31}\.npy$"


class FileDigest(BaseModel):
    """What an array file must contain; truncated and foreign files are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int
    dtype: str
    shape: list[int]


class Canary(BaseModel):
    """A list computed by the trainer; a replica must reproduce it before it serves the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: int
    item_ids: list[int] = Field(
        description="The ten best items for the user's history in the bundle, including items seen."
    )


class ConfidenceParameters(BaseModel):
    """How signals become the confidence that models train on; see `services.common.confidence`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    like: float = 2.0
    dislike: float = -2.0
    watched: float = 0.5
    rating_positive_from: float = 4.0
    rating_negative_below: float = 2.5
    rating_positive: float = 1.0
    rating_neutral: float = 0.0
    rating_negative: float = -1.0


class ModelEntry(BaseModel):
    """One model of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Name
    parameters: dict[str, Any] = Field(default_factory=dict, description="Its training parameters, named by its kind.")
    uses: list[Name] = Field(default_factory=list, description="The models of the bundle that it combines.")
    canaries: list[Canary] = Field(default_factory=list)


class Manifest(BaseModel):
    """What a bundle contains, where it came from and how to verify it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = BUNDLE_FORMAT
    version: str = Field(description="Unique, sortable by time, also the directory's name.")
    created_at: AwareDatetime
    code_revision: str
    run_id: str
    data_from: AwareDatetime | None = Field(description="Time of the first event in the training data.")
    data_until: AwareDatetime | None = Field(description="Time of the last event in the training data.")
    rows: dict[str, int] = Field(description="Counts: signals, users, items, positives, …")
    topic_id: str | None = Field(
        description="Id of the Kafka topic `events` that the offsets refer to; None: no topic yet."
    )
    offsets: dict[int, int] = Field(description="Per partition the offset of the first event *not* in the extract.")
    confidence: ConfidenceParameters
    parameters: dict[str, Any] = Field(default_factory=dict, description="All other parameters of the run.")
    genres: list[str]
    metrics: dict[str, float] = Field(default_factory=dict, description="By model and metric, e.g. `als_ndcg`.")
    models: dict[Name, ModelEntry] = Field(min_length=1)
    default_model: Name = Field(description="The model that answers unless a request names another.")
    files: dict[Annotated[str, Field(pattern=_ARRAY_FILE)], FileDigest]

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, given: Any) -> Any:
        return from_format_1(given) if isinstance(given, dict) and given.get("format") == 1 else given

    @model_validator(mode="after")
    def _default_is_a_model(self) -> "Manifest":
        if self.default_model not in self.models:
            raise ValueError(f"default_model {self.default_model!r} is not one of the models {sorted(self.models)}")
        return self


FORMAT_1_FILES = {f"{MODELS_FOLDER}/als/{name}.npy": f"{name}.npy" for name in ("item_factors", "user_factors")}
"""Where format 1 keeps the files that format 2 keeps elsewhere."""
_FORMAT_1_UNUSED = "genre_popularity.npy"


def from_format_1(given: dict[str, Any]) -> dict[str, Any]:
    """Return a format 1 manifest, which had one iALS model, as a format 2 one; its ``format`` stays 1.

    An older release's champion is still served after an upgrade, until the next training.
    """
    kept = dict(given)
    parameters = {name: kept.pop(name, None) for name in ("factors", "regularization", "alpha")}
    als = {"kind": "als", "parameters": parameters, "canaries": kept.pop("canaries", [])}
    places = {old: new for new, old in FORMAT_1_FILES.items()}
    files = kept.get("files") or {}
    return kept | {
        "models": {"als": als, "popular": {"kind": "popular"}},
        "default_model": "als",
        "metrics": {name.replace("ials_", "als_", 1): value for name, value in (kept.get("metrics") or {}).items()},
        "files": {places.get(name, name): digest for name, digest in files.items() if name != _FORMAT_1_UNUSED},
    }
