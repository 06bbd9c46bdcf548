"""Measures the quality of lists on MovieLens 1M by the splits that are sound for it: ``make quality MOVIELENS_DIR=…``.

The folder must contain ``ratings.dat``, ``movies.dat``, ``users.dat`` and ``ratings_last20.dat``: the latest 20 % of
all events, exact as a set. The times of the others are exact; within the last 20 % they are not, so no other split in
time would be sound.

- **T80/20**: ``ratings_last20.dat`` is the test, the rest the training; a rating of 4 or more is positive.
- **streaming**: the models know the first 64 % of the events; the next 16 % are replayed, with 500 viewers and at most
  12 liked films of each; nothing of the last 20 % is used.
- **leave-last-out**: each user's last row (by timestamp, then order in the file) is the test; every rating,
  whatever its stars, is positive. Equal timestamps are common, so the row order breaks ties.

How lists are made and measured: `services.trainer.evaluation`. The report is written to the folder ``--report``.
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
from services.trainer.data.catalogue import Catalogue, catalogue_of
from services.trainer.data.demographics import Demographics, demographics_of
from services.trainer.data.signals import KINDS, Histories, Signals, pivot
from services.trainer.evaluation.comparison import Comparison, compare
from services.trainer.evaluation.evaluate import DELAYS, SEED, Outcome, Part, delayed, evaluate
from services.trainer.evaluation.report import Report, documents, report
from services.trainer.models.defaults import DEFAULTS
from services.trainer.models.recipe import Recipe

ALL_POSITIVE = ConfidenceParameters(rating_positive_from=0.5, rating_negative_below=0.5)
"""Every rating is positive."""
CHAMPION = "two_stage"
PROMISED = {
    ("T80/20", CHAMPION, "hit_rate@10"): 0.77,
    ("T80/20", CHAMPION, "ndcg@10"): 0.288,
    ("T80/20", CHAMPION, "coverage@10"): 0.12,
    ("T80/20", "als", "hit_rate@10"): 0.635,
    ("T80/20", "als", "ndcg@10"): 0.203,
    ("streaming", CHAMPION, "hit_rate@10"): 0.188,
    ("streaming", CHAMPION, "ndcg@10"): 0.095,
    ("leave-last-out", "ease", "hit_rate@10"): 0.128,
}
"""By protocol, model and metric."""


def main(argv: list[str] | None = None) -> int:
    """Print the reports; return 0 when every promise is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.quality", description=__doc__)
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings.dat and ratings_last20.dat")
    parser.add_argument("--report", type=Path, default=Path(".local/quality"), help="where the reports are written")
    options = parser.parse_args(argv)
    data = open_movielens(options.movielens)
    ratings = read(data.ratings, data)
    late = in_file(ratings, read(options.movielens / "ratings_last20.dat", data))
    films = catalogue_of({int(film.item_id): (film.year, tuple(film.genres)) for film in data.films})
    viewers = demographics_of([(int(u.user_id), u.age, u.gender, u.occupation) for u in data.users])
    champion = Recipe(models=DEFAULTS, default_model=CHAMPION)
    every = Recipe(
        confidence=ALL_POSITIVE,
        models={name: DEFAULTS[name] for name in ("als", "ease", "item_knn", "popular", "popular_recent")},
        default_model="ease",
    )
    broken = []
    for name, part, recipe in (
        ("T80/20", time_split(ratings, late, films, viewers), champion),
        ("streaming", streaming(ratings, films, viewers), champion),
        ("leave-last-out", split(ratings, last_of_each_user(ratings), films, viewers), every),
    ):
        started = time.perf_counter()
        default = recipe.default_model
        evaluation = evaluate(part, {default: recipe}, all_models=True, progress=sys.stderr.isatty())
        measured = evaluation.streaming if name == "streaming" else evaluation.split
        later = delayed(part, evaluation, recipe, default, DELAYS) if name == "streaming" else None
        made = report(f"MovieLens 1M, {name}", evaluation, default, later, f"Seed {SEED}.")
        write(options.report / name.replace("/", "-"), made)
        print(made.markdown())
        print(f"{name}: {time.perf_counter() - started:.0f} s\n", flush=True)
        broken += promises_broken(name, measured)
        if name == "streaming":
            broken += newcomers_served_worse(measured)
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


def split(ratings: Signals, late: NDArray[np.bool_], films: Catalogue, viewers: Demographics) -> Part:
    """Return the ratings with the ``late`` ones as the test."""
    return Part(pivoted(ratings, ~late), pivoted(ratings, late), None, films, viewers)


def time_split(ratings: Signals, late: NDArray[np.bool_], films: Catalogue, viewers: Demographics) -> Part:
    """Return T80/20. The test's times are not exact, so its lists are asked for when the training part ends."""
    part = split(ratings, late, films, viewers)
    return Part(part.train, part.test, None, films, viewers, asked_us=int(part.train.time_us.max()))


def streaming(ratings: Signals, films: Catalogue, viewers: Demographics) -> Part:
    """Return the first 64 % of the ratings by time, then row, and the next 16 % to replay."""
    order = np.lexsort((ratings.id_low, ratings.time_us))
    early, middle = (np.zeros(len(ratings), bool) for _ in range(2))
    early[order[: int(0.64 * len(order))]] = True
    middle[order[int(0.64 * len(order)) : int(0.8 * len(order))]] = True
    return Part(pivoted(ratings, early), pivoted(ratings, middle), pivoted(ratings, early | middle), films, viewers)


def pivoted(ratings: Signals, mask: NDArray[np.bool_]) -> Histories:
    """Return the selected ratings per user."""
    return pivot(ratings.take(mask))


def write(folder: Path, made: Report) -> None:
    """Write a report's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents(made).items():
        (folder / name).write_text(text, encoding="utf-8")


def promises_broken(protocol: str, evaluated: Outcome) -> list[str]:
    """Return a line for each figure that a model does not reach, or that popularity does better than the champion."""
    broken = []
    figures = {model: measured.means() | measured.of_all for model, measured in evaluated.models.items()}
    for (of, model, metric), least in PROMISED.items():
        if of == protocol and figures[model][metric] < least:
            broken.append(f"{protocol} {model} {metric} {figures[model][metric]:.4f} < {least}")
    for model in {model for of, model, _ in PROMISED if of == protocol}:
        broken += [
            f"{protocol} {model} {metric} is not above {rival}"
            for metric in ("hit_rate@10", "ndcg@10")
            for rival in ("popular", "popular_recent")
            if figures[model][metric] <= figures[rival][metric]
        ]
    return broken


def newcomers_served_worse(evaluated: Outcome) -> list[str]:
    """Return a line if viewers with one or two likes are surely served worse than by recent popularity."""
    few = (evaluated.likes >= 1) & (evaluated.likes <= 2)
    found = with_few(evaluated, few)
    print(
        f"one or two likes, HR@10: {CHAMPION} {found.candidate:.4f}, popular_recent {found.rival:.4f},"
        f" difference {found.difference:+.4f} (95 %: {found.low:+.4f} to {found.high:+.4f}), {int(few.sum())} lists"
    )
    return [f"streaming {CHAMPION} with one or two likes is below popular_recent"] if found.high < 0 else []


def with_few(evaluated: Outcome, few: NDArray[np.bool_]) -> Comparison:
    """Return the champion beside recent popularity on the chosen lists."""
    mine, rivals = (evaluated.models[model].per_moment["hit_rate@10"][few] for model in (CHAMPION, "popular_recent"))
    return compare(mine, rivals, evaluated.users[few])


def _pair(ratings: Signals) -> NDArray[np.int64]:
    return ratings.user_id << np.int64(32) | ratings.item_id


if __name__ == "__main__":
    sys.exit(main())
