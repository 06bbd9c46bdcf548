"""The arrays that all models of a bundle share, from the training data."""

from typing import Any

from numpy.typing import NDArray

from services.trainer.data.dataset import TrainingData
from services.trainer.data.popularity import popularity


def shared_arrays(data: TrainingData, recent_days: int) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return the names of the genres, and `services.contracts.bundle.SHARED_ARRAYS` over the data's axes."""
    genres, item_genres = data.catalogue.genres_of(data.item_ids)
    return genres, {
        "item_ids": data.item_ids,
        "popularity": popularity(data),
        "popularity_recent": popularity(data, recent_days=recent_days),
        "item_genres": item_genres,
        **viewer_arrays(data),
    }


def viewer_arrays(data: TrainingData) -> dict[str, NDArray[Any]]:
    """Return the shared arrays that hold the viewers' histories."""
    histories = data.histories
    return {
        "user_ids": histories.user_ids,
        "history_indptr": histories.indptr,
        "history_item_ids": histories.item_ids,
        "history_opinion": histories.opinion,
        "history_rating": histories.rating,
        "history_watched": histories.watched,
        "history_versions": histories.versions,
    }
