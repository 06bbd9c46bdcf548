"""Measures the prediction of stars on MovieLens 1M: ``python -m tests.bench.ratings --movielens DIR``.

Two splits, both with the test's viewers and films that are not in the training part:

- **90/10**: a random tenth of all ratings is the test. What papers report; it lets the model look into the future.
- **T80/20**: the latest 20 % of all ratings (``ratings_last20.dat``, exact as a set) are the test. A viewer who is new
  there is predicted from an empty history, although the service would know the first ratings by then.

The prediction is that of the serving class, folded in from each viewer's training ratings. Exit status 1 when its RMSE
on 90/10 is not below the promise. With ``--validate`` a tenth of each training part is measured instead of the test
part: how the parameters were chosen, for example ``--validate --parameters '{"factors": 24}'``.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.importer.movielens import open_movielens
from services.models.stars import HIGHEST, LOWEST, StarPredictor
from services.trainer.data.signals import Signals
from services.trainer.models.stars import Parameters, fit
from tests.bench.quality import in_file, read

PROMISED = 0.87
"""RMSE on 90/10 is below this."""
SPLIT_SEED, VALIDATION_SEED = 1, 2
BIAS_RATINGS = 5
"""Shrinks the bias baseline, viewers and films alike."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Ratings:
    """Ratings by position of viewer (of u) and film (of n)."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    stars: Floats
    users: int
    items: int

    def take(self, mask: Mask) -> "Ratings":
        """Return the selected ratings over the same axes."""
        return Ratings(self.user[mask], self.item[mask], self.stars[mask], self.users, self.items)

    def by_viewer(self) -> Iterator[NDArray[np.int64]]:
        """Yield for each of the viewers the positions of their ratings."""
        order = np.argsort(self.user, kind="stable")
        ends = np.searchsorted(self.user[order], np.arange(self.users + 1))
        return (order[first:end] for first, end in pairwise(ends))


def main(argv: list[str] | None = None) -> int:
    """Print a table per split; return 0 when the promise is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ratings", description=__doc__)
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings.dat and ratings_last20.dat")
    parser.add_argument("--parameters", type=Parameters.model_validate_json, default=Parameters(), metavar="JSON")
    parser.add_argument("--validate", action="store_true", help="measure on a tenth of each training part")
    options = parser.parse_args(argv)

    data = open_movielens(options.movielens)
    signals = read(options.movielens / "ratings.dat", data)
    ratings = positions(signals, np.sort([film.item_id for film in data.films]))
    late = in_file(signals, read(options.movielens / "ratings_last20.dat", data))
    reached = {}
    for split, test_mask in (("90/10", a_tenth(len(late), SPLIT_SEED)), ("T80/20", late)):
        train, test = ratings.take(~test_mask), ratings.take(test_mask)
        if options.validate:
            mask = a_tenth(len(train.stars), VALIDATION_SEED)
            train, test = train.take(~mask), train.take(mask)
        reached[split] = measure(split, train, test, options.parameters)
    if not options.validate and reached["90/10"] >= PROMISED:
        print(f"BROKEN: RMSE on 90/10 is {reached['90/10']:.4f}, not below {PROMISED}")
        return 1
    return 0


def positions(signals: Signals, item_ids: NDArray[np.int64]) -> Ratings:
    """Return the ratings over the ascending viewers and the ascending ``item_ids``."""
    user_ids, user = np.unique(signals.user_id, return_inverse=True)
    item = np.searchsorted(item_ids, signals.item_id)
    return Ratings(user, item, signals.value.astype(np.float64), len(user_ids), len(item_ids))


def a_tenth(count: int, seed: int) -> Mask:
    """Return a random tenth of ``count`` rows."""
    mask = np.zeros(count, bool)
    mask[np.random.default_rng(seed).permutation(count)[: count // 10]] = True
    return mask


def measure(split: str, train: Ratings, test: Ratings, parameters: Parameters) -> float:
    """Print RMSE and MAE of the baselines and of the model; return the model's RMSE."""
    started = time.perf_counter()
    arrays = fit(train.user, train.item, train.stars, train.users, train.items, parameters)
    fitted = time.perf_counter()
    model = served(StarPredictor(arrays), train, test)
    ended = time.perf_counter()
    known = np.isin(test.user, train.user)
    viewers, new = len(np.unique(test.user)), len(np.unique(test.user[~known]))
    print(
        f"\n{split}: {len(train.stars):,} ratings for training; {len(test.stars):,} of {viewers:,} viewers for the test"
    )
    print(f"training {fitted - started:.1f} s, prediction {1000 * (ended - fitted) / viewers:.2f} ms per viewer")
    print(f"{'':20}{'RMSE':>9}{'MAE':>9}")
    print_row("global mean", np.full(len(test.stars), train.stars.mean()), test.stars)
    print_row("item mean", item_mean(train)[test.item], test.stars)
    print_row("user + item bias", user_and_item_bias(train)(test), test.stars)
    print_row("stars", model, test.stars)
    if new:
        print_row("  known viewers", model[known], test.stars[known])
        print_row(f"  {new:,} new viewers", model[~known], test.stars[~known])
    return rmse(model, test.stars)


def print_row(name: str, predicted: Floats, stars: Floats) -> None:
    """Print the errors of one prediction."""
    print(f"{name:20}{rmse(predicted, stars):9.4f}{mae(predicted, stars):9.4f}")


def served(predictor: StarPredictor, train: Ratings, test: Ratings) -> Floats:
    """Return the test's predicted stars, each viewer's training ratings being the history."""
    predicted = np.empty(len(test.stars))
    for history, wanted in zip(train.by_viewer(), test.by_viewer(), strict=True):
        if len(wanted):
            predicted[wanted] = predictor.predict(train.item[history], train.stars[history], test.item[wanted])
    return predicted


def item_mean(train: Ratings) -> Floats:
    """Return each film's mean stars (n,); the mean of all for a film without ratings."""
    counts = np.bincount(train.item, minlength=train.items)
    sums = np.bincount(train.item, train.stars, train.items)
    return np.divide(sums, counts, out=np.full(train.items, train.stars.mean()), where=counts > 0)


def user_and_item_bias(train: Ratings, rounds: int = 10) -> Callable[[Ratings], Floats]:
    """Return the prediction from the mean and regularized biases (Koren, 2010, section 2.1), solved alternately."""
    mean, user, item = train.stars.mean(), np.zeros(train.users), np.zeros(train.items)
    users = np.bincount(train.user, minlength=train.users) + BIAS_RATINGS
    items = np.bincount(train.item, minlength=train.items) + BIAS_RATINGS
    for _ in range(rounds):
        item = np.bincount(train.item, train.stars - mean - user[train.user], train.items) / items
        user = np.bincount(train.user, train.stars - mean - item[train.item], train.users) / users
    return lambda test: np.clip(mean + user[test.user] + item[test.item], LOWEST, HIGHEST)


def rmse(predicted: Floats, stars: Floats) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.mean((predicted - stars) ** 2)))


def mae(predicted: Floats, stars: Floats) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(predicted - stars)))


if __name__ == "__main__":
    sys.exit(main())
