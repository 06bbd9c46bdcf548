"""A model as it is served: an opened bundle with what is precomputed from it. Immutable, shared by all requests."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Bundle, BundleError
from services.contracts.bundle import Manifest
from services.contracts.ids import UserId
from services.inference.history.merge import ViewerHistory, history_of
from services.inference.models.fold_in import Floats, FoldInBasis, precompute
from services.inference.models.ranking import scores_of, top_k
from services.inference.models.recency import Recency, recency_of

Indices = NDArray[np.intp]
_CANARY_TOLERANCE = 1e-3
_RECENT_DAYS = 7
"""For a bundle whose manifest does not say."""


@dataclass(frozen=True, eq=False)
class Model:
    """n films, u viewers, f factors. Films are addressed by their index in ``item_ids``; compared by identity."""

    bundle: Bundle
    stage: str
    loaded_at: datetime
    item_ids: NDArray[np.int64]
    """(n,) ascending."""
    user_ids: NDArray[np.int64]
    """(u,) ascending."""
    user_factors: Floats
    """(u, f)."""
    item_factors: Floats
    """(n, f)."""
    basis: FoldInBasis
    directions: Floats
    """(n, f) item factors of length 1 (0 for a film without any): their products are cosines."""
    recency: Recency

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.manifest.version

    def indices_of(self, item_ids: NDArray[np.int64]) -> tuple[Indices, NDArray[np.bool_]]:
        """Return for each id its index and whether the model knows it (the index means nothing where it doesn't)."""
        found = np.minimum(np.searchsorted(self.item_ids, item_ids), len(self.item_ids) - 1)
        known: NDArray[np.bool_] = self.item_ids[found] == item_ids
        return found, known

    def user_index(self, user_id: UserId) -> int | None:
        """Return the viewer's row, or None: the model was trained without them."""
        row = int(np.searchsorted(self.user_ids, user_id))
        return row if row < len(self.user_ids) and self.user_ids[row] == user_id else None

    def trained_history(self, user_id: UserId) -> ViewerHistory:
        """Return what the bundle holds of the viewer; no rows for one whom it does not know."""
        row = self.user_index(user_id)
        if row is None:
            return history_of(self.bundle.arrays, slice(0, 0))
        indptr = self.bundle.arrays["history_indptr"]
        return history_of(self.bundle.arrays, slice(int(indptr[row]), int(indptr[row + 1])))


def load_model(bundle: Bundle, stage: str, loaded_at: datetime) -> Model:
    """Precompute and check what serving needs. Blocks; O(n f²).

    Raises:
        BundleError: a canary does not come out as the trainer computed it, or the factors are degenerate.
    """
    # np.asarray drops the memmap subclass, whose every slice costs microseconds; the pages stay mapped.
    bundle = Bundle(bundle.path, bundle.manifest, {name: np.asarray(a) for name, a in bundle.arrays.items()})
    factors: Floats = bundle.arrays["item_factors"]
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    try:
        basis = precompute(factors, bundle.manifest.regularization)
    except np.linalg.LinAlgError as error:
        raise BundleError(f"{bundle.manifest.version}: the item factors are degenerate: {error}") from error
    model = Model(
        bundle=bundle,
        stage=stage,
        loaded_at=loaded_at,
        item_ids=bundle.arrays["item_ids"],
        user_ids=bundle.arrays["user_ids"],
        user_factors=bundle.arrays["user_factors"],
        item_factors=factors,
        basis=basis,
        directions=np.divide(factors, lengths, out=np.zeros_like(factors), where=lengths > 0),
        recency=recency_of(
            bundle.arrays, int(bundle.manifest.parameters.get("recent_days", _RECENT_DAYS)), bundle.manifest.confidence
        ),
    )
    _check_canaries(model)
    return model


def _check_canaries(model: Model) -> None:
    """Compare by score, not by position: another BLAS may swap two films whose scores differ in the last digit."""
    for canary in model.manifest.canaries:
        where = f"{model.version}: the canary of viewer {canary.user_id}"
        row = model.user_index(UserId(canary.user_id))
        indices, known = model.indices_of(np.array(canary.item_ids, np.int64))
        if row is None or not known.all():
            raise BundleError(f"{where} names a viewer or a film that the model does not have")
        scores = scores_of(model.item_factors, model.user_factors[row])
        best = scores[top_k(scores, len(indices))]
        tolerance = _CANARY_TOLERANCE * max(1e-6, float(np.abs(best).max(initial=0)))
        if len(best) != len(indices) or not np.allclose(best, scores[indices], rtol=0, atol=tolerance):
            raise BundleError(f"{where} does not come out as the trainer computed it")
