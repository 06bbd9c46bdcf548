"""What the routes ask for: a viewer's list, their history, lists of films; each from one consistent model."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from services.contracts.ids import ItemId, UserId
from services.contracts.rest import HistoryEntry, ScoredItem
from services.contracts.signals import EPOCH
from services.inference.catalogue.catalogue import Catalogue
from services.inference.history.live import Live, LiveHistory
from services.inference.models.model import Model
from services.inference.models.store import ModelStore
from services.inference.recommend.recommender import Ranked, Taste, taste_of, whole_history
from services.inference.recommend.shelf import Shelf, shelf_of

_CACHED_VIEWERS = 10_000


class NoModelError(Exception):
    """No model is loaded yet."""


class NoCatalogueError(Exception):
    """The catalogue has not been read yet."""


@dataclass(frozen=True)
class Moment:
    """A model and one viewer's live signals that belong together: every signal is in one of the two."""

    model: Model
    live: Live


class Serving:
    """Reads the model store, the live history and the catalogue. Thread-safe."""

    def __init__(self, store: ModelStore, live: LiveHistory, catalogue: Catalogue) -> None:
        self._store = store
        self._live = live
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._tastes: OrderedDict[UserId, tuple[int, Taste]] = OrderedDict()
        self._tastes_model: Model | None = None
        self._shelf: Shelf | None = None
        self._putting_together = threading.Lock()

    def model(self) -> Model:
        """Return the model served now.

        Raises:
            NoModelError: there is none yet.
        """
        model = self._store.current
        if model is None:
            raise NoModelError
        return model

    def shelf(self, model: Model) -> Shelf:
        """Return the films of ``model`` that the catalogue has now; put together once per model and catalogue.

        Raises:
            NoCatalogueError: the catalogue has not been read yet.
        """
        films, shelf = self._catalogue.films, self._shelf
        if films is None:
            raise NoCatalogueError
        if shelf is None or shelf.model is not model or shelf.films is not films:
            with self._putting_together:
                shelf = self._shelf
                if shelf is None or shelf.model is not model or shelf.films is not films:
                    self._shelf = shelf = shelf_of(model, films)
        return shelf

    def moment(self, user_id: UserId) -> Moment:
        """Return the model with the viewer's live signals.

        A swap drops from the live signals what the new model holds: if the model changed while the
        signals were read, both are read again.

        Raises:
            NoModelError: there is no model yet.
        """
        while True:
            model = self.model()
            live = self._live.of(user_id)
            if self._store.current is model:
                return Moment(model, live)

    def taste(self, user_id: UserId, moment: Moment) -> Taste:
        """Return what the viewer's list is made from; computed once per model and signal."""
        with self._lock:
            if self._tastes_model is not moment.model:
                self._tastes.clear()
                self._tastes_model = moment.model
            cached = self._tastes.get(user_id)
        if cached is not None and cached[0] == moment.live.revision:
            return cached[1]
        taste = taste_of(moment.model, user_id, moment.live.slots)
        with self._lock:
            if self._tastes_model is moment.model:
                self._tastes[user_id] = (moment.live.revision, taste)
                self._tastes.move_to_end(user_id)
                if len(self._tastes) > _CACHED_VIEWERS:
                    self._tastes.popitem(last=False)
        return taste

    def forget(self, user_ids: frozenset[UserId]) -> None:
        """Forget what was computed for these viewers."""
        with self._lock:
            for user_id in user_ids:
                self._tastes.pop(user_id, None)

    @staticmethod
    def items(shelf: Shelf, ranked: Ranked) -> list[ScoredItem]:
        """Return the ranked films with their titles."""
        result = []
        for item_id, score in zip(shelf.item_ids[ranked.indices].tolist(), ranked.scores.tolist(), strict=True):
            item = shelf.films.items[ItemId(item_id)]
            result.append(ScoredItem(id=item.id, title=item.title, year=item.year, genres=item.genres, score=score))
        return result

    def history(self, user_id: UserId, limit: int) -> tuple[int, list[HistoryEntry]]:
        """Return how many films the viewer gave a signal, and the ``limit`` latest.

        Raises:
            NoModelError: there is no model yet, so history cannot be complete.
            NoCatalogueError: the catalogue has not been read yet.
        """
        films = self._catalogue.films
        if films is None:
            raise NoCatalogueError
        moment = self.moment(user_id)
        history, _ = whole_history(moment.model, user_id, moment.live.slots)
        times = history.versions[:, :, 0].max(axis=1, initial=0)
        latest = np.argsort(-times.astype(np.int64), kind="stable")[:limit]
        entries = []
        for row in latest:
            given = history.versions[row, :, 0] > 0
            rating = float(history.rating[row])
            entries.append(
                HistoryEntry(
                    item=films.named(ItemId(int(history.item_ids[row]))),
                    opinion=int(history.opinion[row]) if given[0] else None,
                    rating=None if np.isnan(rating) else rating,
                    watched=bool(history.watched[row]) if given[2] else None,
                    updated_at=EPOCH + timedelta(microseconds=int(times[row])),
                )
            )
        return len(history.item_ids), entries
