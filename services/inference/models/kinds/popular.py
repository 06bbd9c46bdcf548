"""Popularity: the same films for everyone, most liked first."""

from services.common.bundle import Arrays
from services.inference.models.base import Capabilities, Floats, History


class Popular:
    """The counts are among the bundle's shared arrays."""

    capabilities = Capabilities()

    def __init__(self, counts: Floats) -> None:
        """``counts`` (n,): how many viewers like each film."""
        self._counts = counts

    def score(self, history: History) -> Floats | None:
        """Return the counts."""
        return self._counts

    def similar(self, index: int) -> Floats | None:
        """Not available: popularity has no notion of similarity."""
        return None


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays) -> Popular:
    """Return the model."""
    return Popular(shared["popularity"])
