"""A bundle ready to serve: its models, and viewers' histories up to its extract. Immutable and shared."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Bundle, BundleError
from services.contracts.bundle import Manifest
from services.contracts.ids import UserId
from services.contracts.signals import to_microseconds
from services.inference.history.merge import is_newer, merge_live
from services.inference.history.stamps import unpack
from services.inference.models.recency import Recency, recency_of
from services.models.base import Floats, History, Indices, Recommender
from services.models.loader import fallback_scores, load_recommenders
from services.models.ranking import top_k
from services.models.viewer import ViewerHistory, history_of, indices_of, scored_history

_CANARY_TOLERANCE = 1e-3
_RECENT_DAYS = 7
"""For a bundle whose manifest does not say."""


@dataclass(frozen=True, eq=False)
class ServedBundle:
    """n films, u viewers. Films are addressed by their index in ``item_ids``; compared by identity."""

    bundle: Bundle
    stage: str
    loaded_at: datetime
    item_ids: NDArray[np.int64]
    """(n,) ascending."""
    user_ids: NDArray[np.int64]
    """(u,) ascending."""
    popularity: Floats
    """(n,) how many viewers like each film."""
    recency: Recency
    recommenders: Mapping[str, Recommender]
    """By the names of the manifest's models."""
    fallback: Floats
    """(n,) scores for viewers whom a model cannot score."""

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.manifest.version

    @property
    def default(self) -> Recommender:
        """The model that answers unless a request names another."""
        return self.recommenders[self.manifest.default_model]

    def indices_of(self, item_ids: NDArray[np.int64]) -> tuple[Indices, NDArray[np.bool_]]:
        """Return for each id its index and whether the bundle has it (if not, the index is meaningless)."""
        return indices_of(self.item_ids, item_ids)

    def user_index(self, user_id: UserId) -> int | None:
        """Return the viewer's row, or None: the models were trained without them."""
        row = int(np.searchsorted(self.user_ids, user_id))
        return row if row < len(self.user_ids) and self.user_ids[row] == user_id else None

    def trained_history(self, user_id: UserId) -> ViewerHistory:
        """Return the viewer's history in the bundle; no rows for an unknown viewer."""
        row = self.user_index(user_id)
        if row is None:
            return history_of(self.bundle.arrays, slice(0, 0))
        indptr = self.bundle.arrays["history_indptr"]
        return history_of(self.bundle.arrays, slice(int(indptr[row]), int(indptr[row + 1])))

    def signals(self, user_id: UserId, slots: Mapping[int, int]) -> tuple[ViewerHistory, bool]:
        """Return the viewer's whole history, and whether any of it is newer than the bundle."""
        trained = self.trained_history(user_id)
        merged = merge_live(trained, slots) if slots else None
        return (trained, False) if merged is None else (merged, True)

    def history(self, user_id: UserId, slots: Mapping[int, int], at: datetime | None = None) -> History:
        """Return what models score for a list asked for at ``at``: the viewer's whole history.

        ``slots`` are their signals since the extract. Without ``at``: when the bundle was made, as for its canaries.
        """
        signals, changed = self.signals(user_id, slots)
        return scored_history(
            signals,
            self.item_ids,
            self.manifest.confidence,
            user_id=user_id,
            at_us=to_microseconds(at or self.manifest.created_at),
            trained_row=None if changed else self.user_index(user_id),
        )

    def held(self, user_id: UserId, slots: Mapping[int, int]) -> set[int]:
        """Return the slots that the bundle has in the same or a newer version."""
        history = self.trained_history(user_id)
        held: set[int] = set()
        if not len(history.item_ids):
            return held
        for slot, version in slots.items():
            signal = unpack(slot, version)
            row = int(np.searchsorted(history.item_ids, signal.item_id))
            known = row < len(history.item_ids) and history.item_ids[row] == signal.item_id
            if known and not is_newer(signal.version, history.versions[row, signal.signal]):
                held.add(slot)
        return held


def load_served(bundle: Bundle, stage: str, loaded_at: datetime) -> ServedBundle:
    """Load a bundle's models and check that they reproduce the trainer's canary lists. Blocks.

    Raises:
        BundleError: a model is of an unknown kind, or not what its kind expects, or does not reproduce its canaries.
    """
    # np.asarray drops the memmap subclass, whose every slice costs microseconds; the pages stay mapped.
    shared = {name: np.asarray(array) for name, array in bundle.arrays.items()}
    bundle = Bundle(bundle.path, bundle.manifest, shared, bundle.models)
    try:
        recommenders = load_recommenders(bundle.manifest.models, bundle.models, shared)
    except BundleError as error:
        raise BundleError(f"{bundle.manifest.version}: {error}") from error
    served = ServedBundle(
        bundle=bundle,
        stage=stage,
        loaded_at=loaded_at,
        item_ids=shared["item_ids"],
        user_ids=shared["user_ids"],
        popularity=shared["popularity"],
        recency=recency_of(
            shared, int(bundle.manifest.parameters.get("recent_days", _RECENT_DAYS)), bundle.manifest.confidence
        ),
        recommenders=recommenders,
        fallback=fallback_scores(recommenders, shared["popularity"]),
    )
    for name in served.recommenders:
        _check_model(served, name)
    return served


def _check_model(served: ServedBundle, name: str) -> None:
    """Compare scores, not positions: another BLAS may swap two films whose scores differ in the last digit."""
    _score(served, name, served.history(UserId(0), {}))  # an empty history
    for canary in served.manifest.models[name].canaries:
        where = f"{served.version}: the canary of viewer {canary.user_id} for model {name}"
        indices, known = served.indices_of(np.array(canary.item_ids, np.int64))
        if served.user_index(UserId(canary.user_id)) is None or not known.all():
            raise BundleError(f"{where} names a viewer or a film that the bundle does not have")
        scores = _score(served, name, served.history(UserId(canary.user_id), {}))
        if scores is None:
            raise BundleError(f"{where} gets no scores")
        best = scores[top_k(scores, len(indices))]
        tolerance = _CANARY_TOLERANCE * max(1e-6, float(np.abs(best).max(initial=0)))
        if len(best) != len(indices) or not np.allclose(best, scores[indices], rtol=0, atol=tolerance):
            raise BundleError(f"{where} differs from what the trainer computed")


def _score(served: ServedBundle, name: str, history: History) -> Floats | None:
    scores = served.recommenders[name].score(history)
    if scores is not None and (scores.shape != served.item_ids.shape or not bool(np.isfinite(scores).all())):
        raise BundleError(f"{served.version}: model {name} does not give a finite score for each of its films")
    return scores
