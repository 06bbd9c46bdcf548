"""Drift of the training data: the population stability index of two samples' shares. Pure."""

from collections.abc import Mapping

import numpy as np

from services.trainer.data.dataset import TrainingData

_FLOOR = 1e-4
"""The least share, so that a group that one sample lacks does not make the index infinite."""


def profile(data: TrainingData) -> dict[str, float]:
    """Return shares of the data's rows: by what viewers said, and of their likes by genre; each set adds up to 1."""
    histories = data.histories
    rating = histories.rating
    said = {
        "like": histories.opinion > 0,
        "dislike": histories.opinion < 0,
        **{f"stars_{stars}": np.round(rating) == stars for stars in range(1, 6)},
        "watched": np.isnan(rating) & (histories.opinion == 0) & (histories.watched != 0),
    }
    counts = {f"said:{name}": int(np.count_nonzero(chosen)) for name, chosen in said.items()}
    genres, has_genre = data.catalogue.genres_of(data.item_ids)
    liked = np.bincount(data.item_index[data.weight > 0], minlength=len(data.item_ids))
    by_genre = liked @ has_genre
    return _shares(counts) | _shares({f"genre:{name}": int(n) for name, n in zip(genres, by_genre, strict=True)})


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = max(sum(counts.values()), 1)
    return {name: count / total for name, count in counts.items()}


def stability_index(now: Mapping[str, float], then: Mapping[str, float]) -> float:
    """Return the greatest population stability index of the sets of shares, ``Σ (a − b) ln(a / b)``.

    Below 0.1 nothing has changed, above 0.25 much has (Siddiqi, Credit Risk Scorecards, 2006).

    >>> stability_index({"said:like": 0.5, "said:dislike": 0.5}, {"said:like": 0.5, "said:dislike": 0.5})
    0.0
    >>> round(stability_index({"said:like": 0.9, "said:dislike": 0.1}, {"said:like": 0.5, "said:dislike": 0.5}), 2)
    0.88
    """
    totals: dict[str, float] = {}
    for name in sorted(set(now) | set(then)):
        a, b = max(now.get(name, 0), _FLOOR), max(then.get(name, 0), _FLOOR)
        group = name.split(":")[0]
        totals[group] = totals.get(group, 0.0) + float((a - b) * np.log(a / b))
    return max(totals.values(), default=0.0)
