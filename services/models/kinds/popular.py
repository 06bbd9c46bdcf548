"""Popularity: the same films for everyone, most liked first; of all time, or of the last days of the data."""

from collections.abc import Mapping

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Recommender
from services.models.loader import need


class Popular:
    """Counts of likes."""

    capabilities = Capabilities(counts_likes=True)

    def __init__(self, counts: Floats) -> None:
        """``counts`` (n,): how many viewers like each film."""
        self._counts = counts

    def score(self, history: History) -> Floats | None:
        """Return the counts."""
        return self._counts

    def similar(self, index: int) -> Floats | None:
        """Not available: popularity has no notion of similarity."""
        return None

    def contributions(self, history: History, index: int) -> Floats | None:
        """Not available: the viewer's own history plays no part."""
        return None


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> Popular:
    """Return the model; without counts of its own it has those of all time, which are shared.

    Raises:
        BundleError: its counts are not for the shared items.
    """
    if "counts" not in arrays:
        return Popular(shared["popularity"])
    counts = need(arrays, "counts", "float32", 1)
    if counts.shape != shared["item_ids"].shape:
        raise BundleError(f"counts {counts.shape} are not for {len(shared['item_ids'])} items")
    return Popular(counts)
