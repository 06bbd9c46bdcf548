"""`python -m tests.bench.bench_ranking`: our computation of one list against RecTools' `recommend()`, in one run.

Both rank the same films for the same viewers with the same model: RecTools' ImplicitALSWrapperModel
with 128 factors, trained on ML-1M (MOVIELENS_DIR) or on synthetic data of its size. Ours is the whole
computation as the service does it for a viewer who has just given a signal, nothing cached: history
merged, folded in, seen films left out, top 10.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported; the service does the same

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import threadpoolctl
from implicit.als import AlternatingLeastSquares
from rectools import Columns
from rectools.dataset import Dataset, Interactions
from rectools.models import ImplicitALSWrapperModel
from scipy.sparse import csr_matrix

from services.common.bundle import open_bundle, write_bundle
from services.common.confidence import weights
from services.contracts.bundle import ConfidenceParameters, Manifest, ModelEntry
from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import Item
from services.inference.catalogue.films import Films
from services.inference.history.stamps import slot_and_version
from services.inference.models.served import ServedBundle, load_served
from services.inference.recommend import pipeline
from services.inference.recommend.shelf import shelf_of
from tests.support.bundles import CREATED

FACTORS, ALPHA, REGULARIZATION, K = 128, 3.0, 30.0, 10
VIEWERS = 300
GOAL = 100


def interactions() -> pd.DataFrame:
    """ML-1M's ratings, or as many random ones with the same skew of films and of history lengths."""
    folder = os.environ.get("MOVIELENS_DIR")
    if folder:
        frame = pd.read_csv(
            Path(folder) / "ratings.dat", sep="::", engine="python", names=["user_id", "item_id", "rating", "time"]
        )
    else:
        random = np.random.default_rng(0)
        films = random.lognormal(0, 1.5, 3706)
        lengths = np.clip(random.lognormal(4.6, 1.0, 6040), 20, 2300).astype(int)
        rows = [random.choice(3706, n, replace=False, p=films / films.sum()) + 1 for n in lengths]
        frame = pd.DataFrame({"user_id": np.repeat(np.arange(1, 6041), lengths), "item_id": np.concatenate(rows)})
        # The shares of ML-1M's stars.
        frame["rating"] = random.choice([1, 2, 3, 4, 5], len(frame), p=[0.06, 0.11, 0.26, 0.35, 0.22])
    return pd.DataFrame(
        {
            Columns.User: frame["user_id"].astype(np.int64),
            Columns.Item: frame["item_id"].astype(np.int64),
            Columns.Weight: frame["rating"].astype(np.float32),
            Columns.Datetime: pd.Timestamp("2026-01-01"),
        }
    )


def with_evidence_only(dataset: Dataset) -> Dataset:
    """The same viewers and films with the weights that iALS trains on; neutral ratings left out."""
    frame = dataset.interactions.df.copy()
    stars = frame[Columns.Weight].to_numpy(np.float32)
    none = np.zeros(len(stars))
    frame[Columns.Weight] = weights(none.astype(np.int8), stars, none.astype(np.uint8), ConfidenceParameters())
    frame = frame[frame[Columns.Weight] != 0]
    return Dataset(dataset.user_id_map, dataset.item_id_map, Interactions(frame))


def bundle_of(folder: Path, model: ImplicitALSWrapperModel, dataset: Dataset) -> ServedBundle:
    """The trained model as the service loads it."""
    item_ids, user_ids = dataset.item_id_map.external_ids, dataset.user_id_map.external_ids
    items, users = np.argsort(item_ids), np.argsort(user_ids)
    user_factors, item_factors = model.get_vectors()
    matrix: csr_matrix = dataset.get_user_item_matrix()[users][:, items].tocsr()
    matrix.sort_indices()  # type: ignore[no-untyped-call]
    versions = np.zeros((matrix.nnz, 3, 2), np.uint64)
    versions[:, 1, 0] = 1_700_000_000_000_000
    popularity = np.bincount(matrix.indices, minlength=len(items)).astype(np.float32)
    arrays = {
        "item_ids": item_ids[items].astype(np.int64),
        "user_ids": user_ids[users].astype(np.int64),
        "popularity": popularity,
        "popularity_recent": popularity,
        "item_genres": np.ones((len(items), 1), np.uint8),
        "history_indptr": matrix.indptr.astype(np.int64),
        "history_item_ids": item_ids[items].astype(np.int64)[matrix.indices],
        "history_opinion": np.zeros(matrix.nnz, np.int8),
        "history_rating": matrix.data.astype(np.float32),
        "history_watched": np.zeros(matrix.nnz, np.uint8),
        "history_versions": versions,
    }
    manifest = Manifest(
        version="bench", created_at=CREATED, code_revision="bench", run_id="bench", data_from=None, data_until=None,
        rows={}, topic_id=None, offsets={}, confidence=ConfidenceParameters(), genres=["any"], files={},
        models={"als": ModelEntry(kind="als", parameters={"regularization": REGULARIZATION, "alpha": ALPHA})},
        default_model="als",
    )  # fmt: skip
    als = {
        "item_factors": item_factors[items].astype(np.float32),
        "user_factors": user_factors[users].astype(np.float32),
    }
    return load_served(open_bundle(write_bundle(folder, manifest, arrays, {"als": als})), "champion", CREATED)


def median_seconds(work: Callable[[int], object], viewers: list[int]) -> float:
    """The median time over the viewers, one call each after a warm-up."""
    for viewer in viewers[:5]:
        work(viewer)
    times = []
    for viewer in viewers:
        start = time.perf_counter()
        work(viewer)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> int:
    """Print both medians and their ratio; 1 when the ratio is below the goal."""
    dataset = Dataset.construct(interactions())
    random = np.random.default_rng(1)
    with threadpoolctl.threadpool_limits(1, "blas"), tempfile.TemporaryDirectory() as folder:  # type: ignore[no-untyped-call]
        als = AlternatingLeastSquares(  # type: ignore[no-untyped-call]
            factors=FACTORS, alpha=ALPHA, regularization=REGULARIZATION, iterations=3, num_threads=1, random_state=1
        )
        rectools = ImplicitALSWrapperModel(als, fit_features_together=False).fit(with_evidence_only(dataset))
        model = bundle_of(Path(folder), rectools, dataset)
        viewers = [int(v) for v in random.choice(model.user_ids, VIEWERS, replace=False)]
        lengths = [len(model.trained_history(UserId(v)).item_ids) for v in viewers]

        like = Event(
            user_id=UserId(viewers[0]), item_id=ItemId(int(model.item_ids[7])), action=Action.LIKE,
            event_id=UUID(int=1), event_time=CREATED,
        )  # fmt: skip
        live = dict([slot_and_version(like)])
        theirs = median_seconds(
            lambda v: rectools.recommend(users=[v], dataset=dataset, k=K, filter_viewed=True), viewers[:50]
        )
        films = shelf_of(
            model, Films({i: Item(id=i, title="", genres=[]) for i in map(ItemId, model.item_ids.tolist())}, 1)
        )

        def ranked(viewer: int, slots: dict[int, int]) -> pipeline.Ranked:
            history = model.history(UserId(viewer), slots)
            scores = pipeline.score(model, history, model.manifest.default_model).scores
            return pipeline.best(films, scores, K, left_out=pipeline.already_seen(history))

        folded = median_seconds(lambda v: ranked(v, live), viewers)
        unchanged = median_seconds(lambda v: ranked(v, {}), viewers)

    ratio = theirs / folded
    print(f"{len(model.item_ids)} films, {len(model.user_ids)} viewers, {FACTORS} factors; {VIEWERS} viewers with")
    print(f"{int(np.median(lengths))} films in their history (median; 90 %: {int(np.quantile(lengths, 0.9))})")
    print(f"RecTools recommend(), one viewer        {theirs * 1e3:9.3f} ms (median)")
    print(f"ours, fold-in + filter + top {K}          {folded * 1e3:9.3f} ms (median, nothing cached)")
    print(f"ours, viewer without a new signal       {unchanged * 1e3:9.3f} ms (median)")
    print(f"ratio {ratio:.0f}x, goal {GOAL}x: {'reached' if ratio >= GOAL else 'MISSED'}")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
