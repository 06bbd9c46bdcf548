"""Measures the models on MovieLens 1M: ``python -m tests.bench.quality --movielens DIR``.

Two splits, the only sound ones for the data set at hand (its README says why):

- **T80/20**: the latest 20 % of all ratings (``ratings_last20.dat``, exact as a set) are the test, the rest
  is the training; a rating of 4 or 5 is positive.
- **leave-last-out**: each user's last rating by (timestamp, row of the file) is the test; every rating,
  whatever its stars, is positive. Equal timestamps are common, so the row order breaks ties.

Who is measured, over which films, and how the metrics are defined: `services.trainer.evaluation.evaluate`.
Exit status 1 when a figure is below what the project promises.
"""

import argparse
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import ConfidenceParameters
from services.contracts.signals import Signal
from services.importer import ratings_file
from services.importer.movielens import MovieLens, open_movielens
from services.importer.rating_rules import Rules
from services.trainer.data.signals import KINDS, History, Signals, pivot
from services.trainer.evaluation.comparison import compare
from services.trainer.evaluation.evaluate import Evaluation, evaluate
from services.trainer.evaluation.gate import judge
from services.trainer.models.kinds import als
from services.trainer.models.recipe import ModelRecipe, Recipe

PLAIN = ConfidenceParameters(rating_negative=0.0)
"""Ratings of 4 and more are positive, others say nothing."""
ALL_POSITIVE = ConfidenceParameters(rating_positive_from=0.5, rating_negative_below=0.5)
"""Every rating is positive."""
PROMISED = {("T80/20", "hit_rate"): 0.635, ("T80/20", "ndcg"): 0.203, ("leave-last-out", "hit_rate"): 0.100}


def main(argv: list[str] | None = None) -> int:
    """Print a table per split; return 0 when every promise is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.quality", description=__doc__)
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings.dat and ratings_last20.dat")
    parser.add_argument("--seed", type=int, default=als.Parameters().seed)
    parser.add_argument("--regularization", type=float, default=None)
    options = parser.parse_args(argv)
    parameters = {"seed": options.seed, "regularization": options.regularization}
    base = Recipe(
        models={"als": ModelRecipe(kind="als", parameters=parameters), "popular": ModelRecipe(kind="popular")}
    )
    plain, every = base.model_copy(update={"confidence": PLAIN}), base.model_copy(update={"confidence": ALL_POSITIVE})

    data = open_movielens(options.movielens)
    ratings = read(data.ratings, data)
    latest = read(options.movielens / "ratings_last20.dat", data)
    broken = []
    for split, late, recipes in (
        ("T80/20", in_file(ratings, latest), {"als": plain, "als_production": base}),
        ("leave-last-out", last_of_each_user(ratings), {"als": every}),
    ):
        started = time.perf_counter()
        evaluation = evaluate(pivoted(ratings, ~late), pivoted(ratings, late), recipes)
        print_table(split, evaluation, time.perf_counter() - started)
        print_comparisons(evaluation)
        broken += promises_broken(split, evaluation)
    for line in broken:
        print(f"BROKEN: {line}")
    return 1 if broken else 0


def read(path: Path, data: MovieLens) -> Signals:
    """Return a file's ratings; the row's number breaks ties of equal timestamps."""
    rules = Rules((film.item_id for film in data.films), datetime.now(timezone.utc))
    with path.open("rb") as file:
        checked = ratings_file.check(file, data.layout, rules)
        if checked.bad_lines:
            raise SystemExit(f"{path}: {checked.problems[0]}")
        blocks = list(ratings_file.blocks(file, checked, data.layout))
    user, item = np.concatenate([b.user_id for b in blocks]), np.concatenate([b.item_id for b in blocks])
    n = len(user)
    return Signals(
        user_id=user,
        item_id=item,
        kind=np.full(n, KINDS.index(Signal.RATING), np.uint8),
        value=np.concatenate([b.rating for b in blocks]),
        time_us=np.concatenate([b.time_us for b in blocks]).astype(np.uint64),
        id_low=np.concatenate([b.row for b in blocks]).astype(np.uint64),
    )


def in_file(ratings: Signals, subset: Signals) -> NDArray[np.bool_]:
    """Return which ratings are in ``subset``, by user and item."""
    found: NDArray[np.bool_] = np.isin(_pair(ratings), _pair(subset))
    if int(found.sum()) != len(subset):
        raise ValueError(f"{len(subset)} ratings in the test file, {int(found.sum())} of them in the whole file")
    return found


def last_of_each_user(ratings: Signals) -> NDArray[np.bool_]:
    """Return which rating is its user's last by time, then row."""
    order = np.lexsort((ratings.id_low, ratings.time_us, ratings.user_id))
    last = np.append(np.diff(ratings.user_id[order]) != 0, True)
    result = np.zeros(len(ratings), bool)
    result[order[last]] = True
    return result


def pivoted(ratings: Signals, mask: NDArray[np.bool_]) -> History:
    """Return the selected ratings per user."""
    return pivot(ratings.take(mask))


def print_table(split: str, evaluation: Evaluation, seconds: float) -> None:
    """Print one row per model."""
    names = list(next(iter(evaluation.metrics.values())))
    print(f"\n{split}: {evaluation.users} users, k=10, {seconds:.1f} s")
    print(f"{'':16}" + "".join(f"{name:>11}" for name in names))
    for model, values in evaluation.metrics.items():
        print(f"{model:16}" + "".join(f"{values[name]:11.4f}" for name in names))


def print_comparisons(evaluation: Evaluation) -> None:
    """Print what the gate would say of iALS beside both kinds of popularity."""
    for rival in ("popular", "popular_recent"):
        beside = compare(evaluation.ndcg["als"], evaluation.ndcg[rival])
        verdict = judge(beside, 0, 20)
        print(
            f"als - {rival}: ndcg {beside.difference:+.4f} (95 %: {beside.low:+.4f} to {beside.high:+.4f}), {verdict}"
        )


def promises_broken(split: str, evaluation: Evaluation) -> list[str]:
    """Return a line for each figure that iALS does not reach, or that popularity does better."""
    broken = []
    for model in [name for name in evaluation.metrics if name.startswith("als")]:
        values = evaluation.metrics[model]
        for (of, metric), least in PROMISED.items():
            if of == split and values[metric] < least:
                broken.append(f"{split} {model} {metric} {values[metric]:.4f} < {least}")
        for metric in ("hit_rate", "ndcg"):
            for rival in ("popular", "popular_recent"):
                if values[metric] <= evaluation.metrics[rival][metric]:
                    broken.append(f"{split} {model} {metric} is not above {rival}")
    return broken


def _pair(ratings: Signals) -> NDArray[np.int64]:
    return ratings.user_id << np.int64(32) | ratings.item_id


if __name__ == "__main__":
    sys.exit(main())
