"""Popularity among viewers like this one: by age group, gender and occupation.

For a film i and the groups g of the viewer, ``log p_i + Σ_g log((c_gi + κ) / (e_gi + κ))``: the film's share of all
recent likes, and how much more or less than expected each group likes it; κ shrinks small groups towards 1.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Recommender
from services.models.loader import need


class PopularByGroup:
    """Knows the groups of the viewers of the training data; for anyone else it is popularity."""

    capabilities = Capabilities()

    def __init__(self, base: Floats, lifts: Floats, groups: NDArray[np.int16], user_ids: NDArray[np.int64]) -> None:
        """``base`` (n,), ``lifts`` (g, n), ``groups`` (u, 3) rows of ``lifts`` or −1, ``user_ids`` (u,) ascending."""
        self._base = base
        self._lifts = lifts
        self._groups = groups
        self._user_ids = user_ids

    def score(self, history: History) -> Floats | None:
        """Return the logarithm of the film's expected share of likes, up to a constant."""
        row = int(np.searchsorted(self._user_ids, history.user_id))
        if row == len(self._user_ids) or self._user_ids[row] != history.user_id:
            return self._base
        groups = self._groups[row]
        scores: Floats = self._base + self._lifts[groups[groups >= 0]].sum(axis=0)
        return scores

    def similar(self, index: int) -> Floats | None:
        """Not available: popularity has no notion of similarity."""
        return None

    def contributions(self, history: History, index: int) -> Floats | None:
        """Not available: the viewer's own history plays no part."""
        return None


def load(
    arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]
) -> PopularByGroup:
    """Return the model.

    Raises:
        BundleError: the arrays are not for the shared axes, or name groups that are not there.
    """
    base, lifts = need(arrays, "base", "float32", 1), need(arrays, "lifts", "float32", 2)
    groups, (items, users) = need(arrays, "groups", "int16", 2), (len(shared["item_ids"]), len(shared["user_ids"]))
    if base.shape != (items,) or lifts.shape[1] != items or groups.shape != (users, 3):
        raise BundleError(
            f"base {base.shape}, lifts {lifts.shape}, groups {groups.shape}: {items} items, {users} users"
        )
    if int(groups.max(initial=-1)) >= len(lifts):
        raise BundleError(f"groups name {int(groups.max())}, there are {len(lifts)}")
    return PopularByGroup(base, lifts, groups, shared["user_ids"])
