"""The protocol of models: they score films from a viewer's whole history at request time."""

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
    times_us: NDArray[np.uint64]
    """(m,) of the film's latest signal; ascending."""
    trained_row: int | None
    """The viewer's row in the bundle, if the models were trained on exactly this history."""

    @property
    def has_likes(self) -> bool:
        """Whether the viewer has a positive signal for any film."""
        return bool(np.any(self.weight > 0))

    @cached_property
    def has_known_likes(self) -> bool:
        """Whether the viewer has a positive signal for a film of the bundle."""
        return bool(np.any(self.weight[self.known] > 0))

    @cached_property
    def seen_indices(self) -> Indices:
        """The indices of the films of the bundle that are ``seen``."""
        return self.indices[self.known & self.seen]

    @cached_property
    def seen_unknown(self) -> NDArray[np.int64]:
        """The ids of the films that are ``seen`` and not in the bundle."""
        return self.item_ids[~self.known & self.seen]


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of a kind of model, for choosing among models."""

    min_likes: int = 0
    """The smallest number of liked films in the bundle with which it can score."""
    finds_similar: bool = False
    explains: bool = False
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
