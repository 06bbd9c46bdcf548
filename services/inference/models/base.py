"""What a model is to the service: it scores films from a viewer's whole history, at the time of the request."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class History:
    """One viewer's whole history beside the films of a bundle, m rows, oldest first.

    Compared by identity: a model may keep what it computes for one as long as the history itself is kept.
    """

    item_ids: NDArray[np.int64]
    """(m,)"""
    indices: Indices
    """(m,) the films' indices in the bundle; without meaning where not ``known``."""
    known: NDArray[np.bool_]
    """(m,) whether the bundle has the film."""
    seen: NDArray[np.bool_]
    """(m,) whether any signal is set now. An unliked film is not seen."""
    weight: Floats
    """(m,) signed confidence of `services.common.confidence`: positive for liked, 0 for neutral."""
    times_us: NDArray[np.uint64]
    """(m,) of the film's latest signal; ascending."""
    trained_row: int | None
    """The viewer's row on the bundle's axis of viewers, if the models were trained on exactly this history."""

    @property
    def has_likes(self) -> bool:
        """Whether the viewer is positive about any film at all."""
        return bool(np.any(self.weight > 0))


@dataclass(frozen=True)
class Capabilities:
    """What a kind of model can do, for whoever chooses among models."""

    min_likes: int = 0
    """The fewest liked films of the bundle that it needs to say anything."""
    finds_similar: bool = False
    explains: bool = False
    max_items: int | None = None
    """The largest catalogue that it suits; None: any."""


class Recommender(Protocol):
    """One model of a bundle with n films, ready to serve. Immutable to its callers, and safe to share among threads."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def score(self, history: History) -> Floats | None:
        """Return (n,) finite scores, greater is better, not to be written to; None: the history says nothing to it."""

    def similar(self, index: int) -> Floats | None:
        """Return (n,) how near films are to the one at ``index``; None: it cannot tell, of this film or at all."""
