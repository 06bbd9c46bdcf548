"""Trains iALS on Apache Spark: MLlib's ALS, on weights that the executors read from ClickHouse."""

import logging
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import SecretStr

from services.trainer.data.dataset import TrainingData, has_positive
from services.trainer.engines.spark_clickhouse import ClickHouseSource, Wanted, ratings_batch, reader_of, slices
from services.trainer.engines.spark_objective import factor_scale, mllib_regularization
from services.trainer.engines.spark_progress import progress_logged
from services.trainer.engines.spark_session import SparkSettings, spark_session
from services.trainer.models.base import Engine, Fitted, Replays, fit_model
from services.trainer.models.kinds import als
from services.trainer.models.recipe import ModelRecipe

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_MOST_POSITIONS = 2**31 - 1
_ROWS_OF_SLICE = 2_000_000
"""An executor holds a slice in memory, 100 bytes a row at the most."""
_READ_SCHEMA = "user int, item int, rating float"


class SparkDataError(Exception):
    """Spark cannot train on the data; the message says why."""


def engine(settings: SparkSettings, clickhouse_url: SecretStr | None) -> Engine:
    """Return the engine that trains iALS on Spark, and all other kinds on this machine.

    The executors read from ClickHouse if its address is given, or else the driver sends them the weights.
    """

    def fit(data: TrainingData, recipe: ModelRecipe, replays: Replays, *, progress: bool) -> Fitted:
        if recipe.kind != "als":
            return fit_model(data, recipe, replays, progress=progress)
        parameters = als.Parameters.model_validate(recipe.parameters)
        source = None if clickhouse_url is None else ClickHouseSource(clickhouse_url, data.confidence)
        items = fit_als(data, parameters, settings=settings, clickhouse=source)
        used = {"regularization": als.resolved_regularization(data, parameters), "engine": "spark"}
        return Fitted({"item_factors": items}, parameters.model_dump(mode="json") | used)

    return fit


def fit_als(
    data: TrainingData, parameters: als.Parameters, *, settings: SparkSettings, clickhouse: ClickHouseSource | None
) -> NDArray[np.float32]:
    """Return the film factors (n, f) over ``data.item_ids``, for the fold-in with λ. Blocks, for minutes.

    A film that no positive of Spark's data names has factors of 0. Equal data, parameters and ``settings.blocks`` give
    equal factors but for rounding: the order in which Spark adds numbers up is not fixed.

    Args:
        data: gives the axes and the numbers of positives.
        parameters: of the recipe; see `spark_objective` for what Spark makes of them.
        settings: of Spark.
        clickhouse: where the executors read the weights, each a slice of ``data.user_ids``: of the signals now, up to
            the latest time in ``data``. A signal that has been changed since is thus left out. None: the driver sends
            the weights of ``data``.

    Raises:
        SparkDataError: there is no positive, λ is 0, an axis is too long, or ClickHouse has none of these signals.
        SparkUnavailableError: Spark cannot be started or reached.
        SparkFailedError: the training fails, or an executor cannot read.
    """
    _check(data, parameters)
    users, items = int(np.count_nonzero(has_positive(data))), len(data.item_ids)
    reg_param = mllib_regularization(
        als.resolved_regularization(data, parameters), positives=data.positives, users=users, items=items
    )
    with spark_session(settings) as (session, folder):
        log.info("training on Spark", extra={"master": settings.master, "items": items, "reg_param": reg_param})
        with progress_logged(session, "reading the weights"):
            ratings = _stored(session, _ratings(session, data, parameters, settings, clickhouse), folder)
            rows = ratings.count()
        log.info("the weights are read", extra={"rows": rows, "rows_of_extract": len(data.weight)})
        if rows == 0:
            raise SparkDataError("ClickHouse has none of the signals in the extract: is it the same database?")
        with progress_logged(session, "training als"):
            factors = _train(ratings, parameters, settings, reg_param)
    result = np.zeros((items, parameters.factors), np.float32)
    columns = factors.column("features").combine_chunks().flatten().to_numpy()
    result[factors.column("id").to_numpy()] = columns.reshape(-1, parameters.factors)
    return result * np.float32(factor_scale(users=users, items=items))


def _check(data: TrainingData, parameters: als.Parameters) -> None:
    if data.positives == 0:
        raise SparkDataError("there is no positive to train on")
    if parameters.regularization == 0:
        raise SparkDataError("MLlib solves exactly, which needs a regularization above 0")
    if max(len(data.user_ids), len(data.item_ids)) > _MOST_POSITIONS:
        raise SparkDataError(f"MLlib numbers viewers and films up to {_MOST_POSITIONS}")


def _ratings(
    session: "SparkSession",
    data: TrainingData,
    parameters: als.Parameters,
    settings: SparkSettings,
    clickhouse: ClickHouseSource | None,
) -> "DataFrame":
    if clickhouse is None:
        kept = has_positive(data)[data.user_index]
        batch = ratings_batch(data.user_index[kept], data.item_index[kept], data.weight[kept], parameters.alpha)
        return session.createDataFrame(pa.Table.from_batches([batch]))
    count = max(settings.blocks, len(data.weight) // _ROWS_OF_SLICE)
    parts = slices(np.bincount(data.user_index, minlength=len(data.user_ids)), count)
    wanted = session.sparkContext.broadcast(Wanted(data.user_ids, data.item_ids, int(data.time_us.max()) + 1))
    read = reader_of(clickhouse, lambda: wanted.value, parts, parameters.alpha)
    return session.range(0, len(parts), 1, len(parts)).mapInArrow(read, _READ_SCHEMA)


def _stored(session: "SparkSession", ratings: "DataFrame", folder: str) -> "DataFrame":
    """Return the same rows from a file: an executor that is lost is repeated on equal data, which MLlib requires."""
    ratings.write.parquet(f"{folder}/ratings")
    return session.read.parquet(f"{folder}/ratings")


def _train(ratings: "DataFrame", parameters: als.Parameters, settings: SparkSettings, reg_param: float) -> pa.Table:
    """Return the film factors as (id, features), in no particular order."""
    from pyspark.ml.recommendation import ALS  # noqa: PLC0415 - pyspark is optional

    model = ALS(
        rank=parameters.factors,
        maxIter=parameters.iterations,
        regParam=reg_param,
        alpha=parameters.alpha,
        implicitPrefs=True,
        seed=parameters.seed,
        numUserBlocks=settings.blocks,
        numItemBlocks=settings.blocks,
        checkpointInterval=settings.checkpoint_interval,
    ).fit(ratings)
    return model.itemFactors.toArrow()
