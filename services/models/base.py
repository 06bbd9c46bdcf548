"""The protocol of models: they score films from a viewer's whole history at request time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class History:
    """One viewer's whole history, m rows, oldest first, with its films' indices in a bundle.

    Compared by identity: a model may keep what it computes for one as long as the history itself is kept.
    """

    user_id: int
    item_ids: NDArray[np.int64]
    """(m,)"""
    indices: Indices
    """(m,) the films' indices in the bundle; meaningless where not ``known``."""
    known: NDArray[np.bool_]
    """(m,) whether the bundle has the film."""
    seen: NDArray[np.bool_]
    """(m,) whether any signal is set now. An un-liked film is not seen."""
    weight: Floats
    """(m,) signed confidence of `services.common.confidence`: positive for liked, 0 for neutral."""
    stars: Floats
    """(m,) the rating, 0.5 to 5; NaN: not rated."""
    times_us: NDArray[np.uint64]
    """(m,) of the film's latest signal; ascending."""
    trained_row: int | None
    """The viewer's row in the bundle, if the models were trained on exactly this history."""
    at_us: int
    """When the list is asked for, µs since 1970 UTC."""

    @cached_property
    def likes(self) -> int:
        """How many films the viewer likes, known to the bundle or not."""
        return int(np.count_nonzero(self.weight > 0))

    @cached_property
    def liked(self) -> NDArray[np.intp]:
        """The rows of the liked films that the bundle has, oldest first."""
        return np.flatnonzero(self.known & (self.weight > 0))

    @cached_property
    def later_likes(self) -> NDArray[np.intp]:
        """(m,) how many films of the bundle the viewer liked after this one: the age of a like, in likes."""
        ages = np.zeros(len(self.item_ids), np.intp)
        ages[self.liked] = 1
        later: NDArray[np.intp] = np.cumsum(ages[::-1])[::-1] - ages
        return later

    @cached_property
    def seen_indices(self) -> Indices:
        """The indices of the films of the bundle that are ``seen``."""
        return self.indices[self.known & self.seen]

    @cached_property
    def seen_unknown(self) -> NDArray[np.int64]:
        """The ids of the films that are ``seen`` and not in the bundle."""
        return self.item_ids[~self.known & self.seen]


NOBODY = History(
    user_id=0,
    item_ids=np.empty(0, np.int64),
    indices=np.empty(0, np.intp),
    known=np.empty(0, np.bool_),
    seen=np.empty(0, np.bool_),
    weight=np.empty(0, np.float32),
    stars=np.empty(0, np.float32),
    times_us=np.empty(0, np.uint64),
    trained_row=None,
    at_us=0,
)
"""The history of someone of whom nothing is known."""


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of a kind of model, for choosing among models."""

    min_likes: int = 0
    """The smallest number of liked films in the bundle with which it can score."""
    finds_similar: bool = False
    explains: bool = False
    counts_likes: bool = False
    """Whether its scores are numbers of likes, which differ by orders of magnitude between films."""
    max_items: int | None = None
    """The largest catalogue that it is suitable for; None: any."""


class Recommender(Protocol):
    """One model of a bundle with n films, ready to serve. Thread-safe; callers do not change it."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def score(self, history: History) -> Floats | None:
        """Return (n,) finite scores, higher is better, read-only; None: it cannot score this history."""

    def similar(self, index: int) -> Floats | None:
        """Return (n,) similarities to the film at ``index``; None: not available for this film or model."""

    def contributions(self, history: History, index: int) -> Floats | None:
        """Return (m,) what each row of the history adds to the score of the film at ``index``; None: not explained.

        Greater is more; a row that the model does not use adds 0. The sum need not be the score.
        """


def first_similar(models: Sequence[Recommender], index: int) -> Floats | None:
    """Return the similarities to the film at ``index`` of the first model that has any."""
    found = (model.similar(index) for model in models if model.capabilities.finds_similar)
    return next((near for near in found if near is not None), None)
