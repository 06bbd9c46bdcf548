"""Measures iALS by Spark beside implicit's, on MovieLens 1M: ``python -m tests.bench.bench_spark --movielens DIR``.

One run, one split, the same viewers and parameters (`tests.bench.quality` says what the split is). It needs the
environment of infra/requirements/spark.in and Java. Exit status 1 when Spark's NDCG@10 is worse than implicit's, which
is when the 95 % interval of the difference lies below 0.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

from services.importer.movielens import open_movielens
from services.trainer.data.catalogue import NO_CATALOGUE
from services.trainer.data.demographics import NO_DEMOGRAPHICS
from services.trainer.engines import spark
from services.trainer.engines.spark_session import SparkSettings
from services.trainer.evaluation.comparison import compare
from services.trainer.evaluation.evaluate import evaluate
from services.trainer.models.base import fit_model
from services.trainer.models.kinds import als
from services.trainer.models.recipe import ModelRecipe, Recipe
from tests.bench.quality import in_file, read, time_split


def main(argv: list[str] | None = None) -> int:
    """Print both; return 0 when Spark's model is not worse."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_spark", description=__doc__)
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings.dat and ratings_last20.dat")
    parser.add_argument("--iterations", type=int, default=als.Parameters().iterations)
    parser.add_argument("--regularization", type=float, default=None, help="of both; default: by data")
    parser.add_argument("--master", default=SparkSettings().master)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    parameters = {"iterations": options.iterations, "regularization": options.regularization}
    models = {"als": ModelRecipe(kind="als", parameters=parameters), "popular": ModelRecipe(kind="popular")}
    files = open_movielens(options.movielens)
    ratings = read(files.ratings, files)
    late = in_file(ratings, read(options.movielens / "ratings_last20.dat", files))
    part = time_split(ratings, late, NO_CATALOGUE, NO_DEMOGRAPHICS)

    measured = {}
    engines = {"implicit": fit_model, "Spark": spark.engine(SparkSettings(master=options.master), None)}
    for name, engine in engines.items():
        started = time.perf_counter()
        outcome = evaluate(part, {"als": Recipe(models=models)}, engine=engine).split
        measured[name] = outcome.models["als"]
        figures = measured[name].means() | measured[name].of_all
        told = ", ".join(f"{metric} {figures[f'{metric}@10']:.4f}" for metric in ("hit_rate", "ndcg", "coverage"))
        print(f"{name:9}{told}, {time.perf_counter() - started:.1f} s with evaluation")
    beside = compare(measured["Spark"].per_moment["ndcg@10"], measured["implicit"].per_moment["ndcg@10"])
    print(f"Spark - implicit: ndcg@10 {beside.difference:+.4f} (95 %: {beside.low:+.4f} to {beside.high:+.4f})")
    return 0 if beside.high >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
