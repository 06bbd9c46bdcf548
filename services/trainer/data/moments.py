"""Moments at which a viewer asks for a list, of which it is known what they liked afterwards: the data set replayed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.confidence import is_positive
from services.contracts.bundle import ConfidenceParameters
from services.contracts.ids import UserId
from services.models.base import History, Indices
from services.models.viewer import ViewerHistory, scored_history
from services.trainer.data.signals import Histories


@dataclass(frozen=True, eq=False)
class Moment:
    """A viewer, all that they did before a list, and what they liked after it."""

    user_id: UserId
    history: History
    targets: NDArray[np.int64]
    """The ids of the films liked afterwards, without a signal before; the models may not know them."""
    is_next: bool
    """Whether only the very next liked film is a target; otherwise, all later ones are."""


class Timelines:
    """The histories in order of time: each viewer's rows, oldest first, ties in the order of the signals' ids."""

    def __init__(
        self, histories: Histories, confidence: ConfidenceParameters, judge: ConfidenceParameters | None = None
    ) -> None:
        """``confidence`` is what models see of a history; ``judge`` says what counts as liked afterwards (the same)."""
        self.histories = histories
        latest = histories.versions[:, :, 0].argmax(axis=1)
        versions = histories.versions[np.arange(len(histories)), latest]
        # The rows are grouped by user already, so this only orders each user's.
        self._order = np.lexsort((versions[:, 1], versions[:, 0], histories.user_index))
        self._times = versions[self._order, 0]
        self._confidence = confidence
        liked = is_positive(histories.opinion, histories.rating, histories.watched, judge or confidence)
        self._liked = liked[self._order]

    def rows(self, user: int) -> slice:
        """Return where the rows of the user at this position are."""
        return slice(int(self.histories.indptr[user]), int(self.histories.indptr[user + 1]))

    def likes(self, user: int, from_us: int = 0, until_us: int = 1 << 63) -> Indices:
        """Return the places of the user's likes within ``[from_us, until_us)``, oldest first."""
        rows = self.rows(user)
        first, last = rows.start + np.searchsorted(self._times[rows], np.array([from_us, until_us], np.uint64))
        places: Indices = first + np.flatnonzero(self._liked[first:last])
        return places

    def before(self, user: int, at_us: int) -> int:
        """Return the place of the user's first row that is not before ``at_us``."""
        rows = self.rows(user)
        return int(rows.start + np.searchsorted(self._times[rows], np.uint64(at_us)))

    def time_of(self, place: int) -> int:
        """Return a row's time in µs."""
        return int(self._times[place])

    def items(self, places: Indices) -> NDArray[np.int64]:
        """Return the ids of the films at these places."""
        ids: NDArray[np.int64] = self.histories.item_ids[self._order[places]]
        return ids

    def history(
        self, user: int, end: int, item_ids: NDArray[np.int64], at_us: int, trained_row: int | None = None
    ) -> History:
        """Return the user's history before the place ``end``, for models over ``item_ids``."""
        h, rows = self.histories, self._order[self.rows(user).start : end]
        viewer = ViewerHistory(h.item_ids[rows], h.opinion[rows], h.rating[rows], h.watched[rows], h.versions[rows])
        return scored_history(
            viewer,
            item_ids,
            self._confidence,
            user_id=int(h.user_ids[user]),
            at_us=at_us,
            trained_row=trained_row,
        )


def at_the_end(
    early: Timelines, late: Timelines, users: NDArray[np.int64], item_ids: NDArray[np.int64], at_us: int
) -> Iterator[Moment]:
    """Yield one list for each of the ``users`` (ids) whom both parts know, asked for at ``at_us``, after ``early``.

    The targets are all likes of ``late``, except films that the user had given a signal before.
    """
    users = users[np.isin(users, early.histories.user_ids) & np.isin(users, late.histories.user_ids)]
    places = (np.searchsorted(part.histories.user_ids, users) for part in (early, late))
    for user_id, before, after in zip(users, *places, strict=True):
        history = early.history(before, early.rows(before).stop, item_ids, at_us)
        liked = late.items(late.likes(after))
        targets = liked[~np.isin(liked, history.item_ids)]
        if len(targets):
            yield Moment(UserId(int(user_id)), history, targets, is_next=False)


def before_each_like(
    timelines: Timelines,
    item_ids: NDArray[np.int64],
    users: Sequence[int],
    from_us: int,
    until_us: int,
    *,
    per_user: int,
    random: np.random.Generator,
    delay_us: int | None = 0,
) -> Iterator[Moment]:
    """Yield a list before each of at most ``per_user`` likes of each user, drawn at random: the target is that like.

    Args:
        timelines: of the whole data.
        item_ids: the models' axis.
        users: positions.
        from_us: likes before it are not targets.
        until_us: likes from then on are not targets.
        per_user: how many likes of one user at most.
        random: draws them.
        delay_us: how much later than the viewer's signals the lists are made: 0, each signal counts at once; None,
            only what was known at ``from_us``.
    """
    for user in users:
        likes = timelines.likes(user, from_us, until_us)
        chosen = likes if len(likes) <= per_user else np.sort(random.choice(likes, per_user, replace=False))
        for place in chosen:
            at_us = timelines.time_of(int(place))
            end = int(place)
            if delay_us is None:
                end = min(end, timelines.before(user, from_us))
            elif delay_us:
                end = min(end, timelines.before(user, at_us - delay_us))
            history = timelines.history(user, end, item_ids, at_us)
            target = timelines.items(np.array([place]))
            yield Moment(UserId(int(timelines.histories.user_ids[user])), history, target, is_next=True)
