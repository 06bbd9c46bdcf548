"""The model bundle: a directory per version, `manifest.json` beside plain NumPy arrays.

The trainer writes it under a temporary name and renames it once complete; nobody changes it
afterwards. `services.common.bundle` writes and opens it; every array below is one ``<name>.npy``.
"""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

BUNDLE_FORMAT = 1
MANIFEST_FILE = "manifest.json"

# name -> (dtype, dimensions); n_items, n_users: what the model knows; nnz: signals of known users.
ARRAYS: dict[str, tuple[str, int]] = {
    # iALS
    "item_ids": ("int64", 1),  # (n_items,) ascending
    "user_ids": ("int64", 1),  # (n_users,) ascending
    "item_factors": ("float32", 2),  # (n_items, factors)
    "user_factors": ("float32", 2),  # (n_users, factors)
    # Popularity, over the items above
    "popularity": ("float32", 1),  # (n_items,) distinct viewers who like it, all time
    "popularity_recent": ("float32", 1),  # (n_items,) the same within manifest.parameters["recent_days"]
    "genre_popularity": ("float32", 2),  # (n_genres, n_items) popularity where the item has the genre, else 0
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
    ),  # (nnz, 3 signals [opinion, rating, watched], 2 [time µs, id low 64 bits]); 0: unset
}


class FileDigest(BaseModel):
    """What an array file must be, so that a torn or foreign file is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int
    dtype: str
    shape: list[int]


class Canary(BaseModel):
    """A recommendation computed by the trainer; a replica must reproduce it before it serves the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: int
    item_ids: list[int] = Field(description="The ten best items for the user's factors, seen ones left in.")


class ConfidenceParameters(BaseModel):
    """How signals become the confidence that iALS trains on; see `services.common.confidence`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    like: float = 2.0
    dislike: float = -2.0
    watched: float = 0.5
    rating_positive_from: float = 4.0
    rating_negative_below: float = 2.5
    rating_positive: float = 1.0
    rating_neutral: float = 0.0
    rating_negative: float = -1.0


class Manifest(BaseModel):
    """What a bundle holds, where it came from and how to check it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = BUNDLE_FORMAT
    version: str = Field(description="Unique, sortable by time, also the directory's name.")
    created_at: AwareDatetime
    code_revision: str
    run_id: str
    data_from: AwareDatetime | None = Field(description="Time of the first event that was trained on.")
    data_until: AwareDatetime | None = Field(description="Time of the last event that was trained on.")
    rows: dict[str, int] = Field(description="Counts: signals, users, items, positives, …")
    topic_id: str | None = Field(description="Id of the Kafka topic `events` of the offsets; None: no topic yet.")
    offsets: dict[int, int] = Field(description="Per partition the offset of the first event *not* in the extract.")
    factors: int
    regularization: float
    alpha: float
    confidence: ConfidenceParameters
    parameters: dict[str, Any] = Field(default_factory=dict, description="Everything else the run was given.")
    genres: list[str]
    metrics: dict[str, float] = Field(default_factory=dict)
    canaries: list[Canary] = Field(default_factory=list)
    files: dict[str, FileDigest]
