"""The use case: lists, popular and similar films, viewers' histories; each from one consistent bundle.

`Recommendations.recommend` shows the stages of a list in order; they are in `services.inference.recommend.pipeline`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from services.contracts import rest
from services.contracts.ids import ItemId, UserId, request_uuid
from services.contracts.impressions import Impression
from services.contracts.rest import DEFAULT_VARIANT, Basis, HistoryEntry, Item, ItemList, ScoredItem
from services.contracts.signals import EPOCH
from services.inference.catalogue.catalogue import Catalogue
from services.inference.catalogue.films import Films
from services.inference.events.impressions import ImpressionPublisher
from services.inference.history.live import Live, LiveHistory
from services.inference.metrics import Metrics
from services.inference.models.served import ServedBundle
from services.inference.models.store import ModelStore
from services.inference.recommend import pipeline
from services.inference.recommend.pipeline import Ranked
from services.inference.recommend.request import ListRequest, UnknownChoiceError
from services.inference.recommend.shelf import Shelf, shelf_of
from services.models.base import History

_CACHED_VIEWERS = 10_000


class NoModelError(Exception):
    """No model is loaded yet."""


class NoCatalogueError(Exception):
    """The catalogue has not been read yet."""


@dataclass(frozen=True)
class Moment:
    """A consistent pair of a bundle and one viewer's live signals: every signal is in one of the two."""

    served: ServedBundle
    live: Live


class Recommendations:
    """Reads the model store, the live history and the catalogue; records impressions. Thread-safe."""

    def __init__(
        self,
        store: ModelStore,
        live: LiveHistory,
        catalogue: Catalogue,
        *,
        impressions: ImpressionPublisher,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._live = live
        self._catalogue = catalogue
        self._impressions = impressions
        self._metrics = metrics
        self._now = now
        self._lock = threading.Lock()
        self._histories: OrderedDict[UserId, tuple[tuple[int, datetime], History]] = OrderedDict()
        self._histories_of: ServedBundle | None = None
        self._shelf: Shelf | None = None
        self._putting_together = threading.Lock()

    def recommend(
        self, request: ListRequest, ranking: AbstractContextManager[object] | None = None
    ) -> rest.Recommendations:
        """Return the viewer's list, recorded as an impression if shown; ``ranking`` is entered around the computation.

        Raises:
            NoModelError, NoCatalogueError: not loaded yet.
            UnknownChoiceError: the genre or model does not exist.
        """
        start = time.perf_counter()
        moment = self._moment(request.user_id)
        served, shelf = moment.served, self._shelf_of(moment.served)
        genre, model = _genre(shelf, request.genre), _model(served, request.model)
        with ranking or nullcontext():
            history = self._history(request.user_id, moment)
            scored = pipeline.score(served, history, model)
            seen = pipeline.already_seen(history)
            ranked = pipeline.best(shelf, scored.scores, request.k, left_out=seen, genre=genre)
        self._metrics.recommendation_seconds.labels(scored.strategy).observe(time.perf_counter() - start)
        answer = rest.Recommendations(
            model_version=served.version,
            items=_items(shelf, ranked),
            request_id=request_uuid(),
            user_id=request.user_id,
            model=model,
            strategy=scored.strategy,
            variant=DEFAULT_VARIANT,
        )
        if request.is_shown:
            self._record(answer, request)
        return answer

    def popular(self, k: int, *, genre: str | None = None, recent: bool = False) -> ItemList:
        """Return the films that most viewers like. Raises as `recommend` does."""
        shelf = self._shelf_of(self.served())
        ranked = pipeline.popular(shelf, k, genre=_genre(shelf, genre), recent=recent)
        basis = Basis.POPULAR_RECENTLY if recent else Basis.POPULAR
        return ItemList(model_version=shelf.served.version, items=_items(shelf, ranked), basis=basis)

    def similar(self, film: Item, k: int) -> ItemList:
        """Return the films nearest to ``film``. Raises as `recommend` does."""
        shelf = self._shelf_of(self.served())
        ranked, basis = pipeline.similar(shelf, film, k)
        return ItemList(model_version=shelf.served.version, items=_items(shelf, ranked), basis=basis)

    def history(self, user_id: UserId, limit: int) -> rest.History:
        """Return the ``limit`` films with the viewer's latest feedback, latest first.

        Raises:
            NoModelError: there is no model yet, so history cannot be complete.
            NoCatalogueError: the catalogue has not been read yet.
        """
        films = self._films()
        moment = self._moment(user_id)
        signals, _ = moment.served.signals(user_id, moment.live.slots)
        times = signals.versions[:, :, 0].max(axis=1, initial=0)
        latest = np.argsort(-times.astype(np.int64), kind="stable")[:limit]
        entries = []
        for row in latest:
            given = signals.versions[row, :, 0] > 0
            rating = float(signals.rating[row])
            entries.append(
                HistoryEntry(
                    item=films.named(ItemId(int(signals.item_ids[row]))),
                    opinion=int(signals.opinion[row]) if given[0] else None,
                    rating=None if np.isnan(rating) else rating,
                    watched=bool(signals.watched[row]) if given[2] else None,
                    updated_at=EPOCH + timedelta(microseconds=int(times[row])),
                )
            )
        return rest.History(user_id=user_id, total=len(signals.item_ids), entries=entries)

    def served(self) -> ServedBundle:
        """Return the bundle served now.

        Raises:
            NoModelError: there is none yet.
        """
        served = self._store.current
        if served is None:
            raise NoModelError
        return served

    def forget(self, user_ids: frozenset[UserId]) -> None:
        """Drop these viewers' cached results."""
        with self._lock:
            for user_id in user_ids:
                self._histories.pop(user_id, None)

    def _moment(self, user_id: UserId) -> Moment:
        """Return the bundle with the viewer's live signals.

        A swap drops live signals that the new bundle contains, so if the bundle changes in between, both are read
        again.
        """
        while True:
            served = self.served()
            live = self._live.of(user_id)
            if self._store.current is served:
                return Moment(served, live)

    def _history(self, user_id: UserId, moment: Moment) -> History:
        """Return what models score, for a list asked for in this hour; cached per bundle, live signals and hour."""
        hour = self._now().replace(minute=0, second=0, microsecond=0)
        key = (moment.live.revision, hour)
        with self._lock:
            if self._histories_of is not moment.served:
                self._histories.clear()
                self._histories_of = moment.served
            cached = self._histories.get(user_id)
        if cached is not None and cached[0] == key:
            return cached[1]
        history = moment.served.history(user_id, moment.live.slots, hour)
        with self._lock:
            if self._histories_of is moment.served:
                self._histories[user_id] = (key, history)
                self._histories.move_to_end(user_id)
                if len(self._histories) > _CACHED_VIEWERS:
                    self._histories.popitem(last=False)
        return history

    def _films(self) -> Films:
        films = self._catalogue.films
        if films is None:
            raise NoCatalogueError
        return films

    def _shelf_of(self, served: ServedBundle) -> Shelf:
        """Return the films of ``served`` that the catalogue has now; cached per bundle and catalogue."""
        films, shelf = self._films(), self._shelf
        if shelf is None or shelf.served is not served or shelf.films is not films:
            with self._putting_together:
                shelf = self._shelf
                if shelf is None or shelf.served is not served or shelf.films is not films:
                    self._shelf = shelf = shelf_of(served, films)
        return shelf

    def _record(self, answer: rest.Recommendations, request: ListRequest) -> None:
        self._metrics.lists_served.labels(answer.strategy, answer.variant).inc()
        impression = Impression(
            request_id=answer.request_id,
            user_id=answer.user_id,
            item_ids=[ItemId(item.id) for item in answer.items],
            strategy=answer.strategy,
            variant=answer.variant,
            model_version=answer.model_version,
            served_at=self._now(),
        )
        self._impressions.publish(impression, request.headers)


def _items(shelf: Shelf, ranked: Ranked) -> list[ScoredItem]:
    """Return the ranked films with their titles."""
    result = []
    for item_id, score in zip(shelf.item_ids[ranked.indices].tolist(), ranked.scores.tolist(), strict=True):
        item = shelf.films.items[ItemId(item_id)]
        result.append(ScoredItem(id=item.id, title=item.title, year=item.year, genres=item.genres, score=score))
    return result


def _genre(shelf: Shelf, genre: str | None) -> int | None:
    """Return the genre's index in the catalogue; None without a genre."""
    if genre is None:
        return None
    index = shelf.films.genre_index.get(genre)
    if index is None:
        there_are = ", ".join(shelf.films.genre_index)
        raise UnknownChoiceError("genre", f"there is no genre {genre!r}; there are {there_are}")
    return index


def _model(served: ServedBundle, model: str | None) -> str:
    if model is None:
        return served.manifest.default_model
    if model not in served.recommenders:
        raise UnknownChoiceError("model", f"there is no model {model!r}; there are {', '.join(served.recommenders)}")
    return model
