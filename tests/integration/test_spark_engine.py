"""iALS on a real Spark (local, on Java) that reads a real ClickHouse, beside the local engine on the same data."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from services.common import clickhouse
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.bundle import ConfidenceParameters
from services.trainer.engines import spark
from services.trainer.engines.local import LocalReplays
from services.trainer.engines.spark_clickhouse import ClickHouseSource, Wanted, ratings_batch, read_slice
from services.trainer.engines.spark_session import SparkFailedError, SparkUnavailableError, spark_session
from services.trainer.models.base import fit_model
from services.trainer.models.recipe import ModelRecipe, Recipe
from tests.support.ports import free_port
from tests.support.spark import ALPHA, ONE_THREAD, SMALL, extracted, insert, insert_all_kinds, regular

pytest.importorskip("pyspark", reason="pyspark is an environment of its own: infra/requirements/spark.in")


def test_where_all_rows_are_equally_long_spark_finds_the_local_engines_model() -> None:
    # There MLlib's regularization is the same for all viewers, and for all films, as lambda is.
    data = regular()
    recipe = ModelRecipe(kind="als", parameters=SMALL.model_copy(update={"iterations": 12}).model_dump())
    nothing = LocalReplays(data, Recipe(), fit_model)
    local = fit_model(data, recipe, nothing, progress=False)
    fitted = spark.engine(ONE_THREAD, None)(data, recipe, nothing, progress=False)
    items = fitted.arrays["item_factors"]
    assert (items.shape, str(items.dtype)) == ((8, 3), "float32")
    gram = local.arrays["item_factors"] @ local.arrays["item_factors"].T
    np.testing.assert_allclose(items @ items.T, gram, rtol=0.01, atol=0.01, err_msg="lambda is for another scale")
    assert fitted.parameters == local.parameters | {"engine": "spark"}


def test_equal_seeds_give_equal_factors_and_others_give_others() -> None:
    data = regular()
    first, again, other = (
        spark.fit_als(data, SMALL.model_copy(update={"seed": seed}), settings=ONE_THREAD, clickhouse=None)
        for seed in (1, 1, 2)
    )
    np.testing.assert_allclose(first, again, rtol=1e-5, atol=1e-6)
    assert np.abs(first - other).max() > 0.01


@pytest.fixture
def client(clickhouse_database: str) -> Iterator[Client]:
    client = clickhouse.connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    yield client
    client.close()


@pytest.mark.parametrize(
    "parameters",
    [ConfidenceParameters(), ConfidenceParameters(rating_neutral=0.25, watched=0, dislike=0, rating_positive=3)],
)
def test_the_slices_hold_exactly_the_weights_of_the_extract(
    client: Client, clickhouse_database: str, parameters: ConfidenceParameters
) -> None:
    insert_all_kinds(client)
    data = extracted(client, parameters)
    source = ClickHouseSource(SecretStr(clickhouse_database), parameters)
    wanted = Wanted(data.user_ids, data.item_ids, int(data.time_us.max()) + 1)
    middle, end = 5, len(data.user_ids)
    read = [row for part in ((0, middle), (middle, end)) for row in _rows(read_slice(source, wanted, *part, ALPHA))]
    kept = np.isin(data.user_index, data.user_index[data.weight > 0])
    assert np.count_nonzero(~kept) > 0, "the viewer without a positive"
    expected = ratings_batch(data.user_index[kept], data.item_index[kept], data.weight[kept], ALPHA)
    assert sorted(read) == sorted(_rows(expected))


def test_executors_that_read_clickhouse_train_the_model_of_the_extract(
    client: Client, clickhouse_database: str
) -> None:
    insert_all_kinds(client)
    data = extracted(client, ConfidenceParameters())
    source = ClickHouseSource(SecretStr(clickhouse_database), ConfidenceParameters())
    # Later signals, new viewers and films among them, are not in the extract and must not come in.
    insert(client, (1, 8, "opinion", 1, 100), (2, 99, "opinion", 1, 100), (99, 1, "opinion", 1, 100))
    from_driver = spark.fit_als(data, SMALL, settings=ONE_THREAD, clickhouse=None)
    np.testing.assert_allclose(
        spark.fit_als(data, SMALL, settings=ONE_THREAD, clickhouse=source), from_driver, rtol=1e-4, atol=1e-5
    )


def test_a_film_that_clickhouse_no_longer_likes_has_no_factors(client: Client, clickhouse_database: str) -> None:
    insert_all_kinds(client)
    data = extracted(client, ConfidenceParameters())
    cold = int(np.searchsorted(data.item_ids, 20))
    insert(client, (4, 20, "watched", 0, 100))
    source = ClickHouseSource(SecretStr(clickhouse_database), ConfidenceParameters())
    factors = spark.fit_als(data, SMALL, settings=ONE_THREAD, clickhouse=source)
    assert not factors[cold].any()
    assert np.abs(factors).sum(axis=1).astype(bool).sum() == len(data.item_ids) - 1


def test_another_database_is_refused(client: Client, clickhouse_database: str) -> None:
    source = ClickHouseSource(SecretStr(clickhouse_database), ConfidenceParameters())
    with pytest.raises(spark.SparkDataError, match="is it the same database"):
        spark.fit_als(regular(), SMALL, settings=ONE_THREAD, clickhouse=source)


def test_a_clickhouse_that_is_away_is_the_reason_given_without_its_password() -> None:
    port = free_port()
    source = ClickHouseSource(SecretStr(f"http://movierecs:hunter2@127.0.0.1:{port}/default"), ConfidenceParameters())
    with pytest.raises(SparkFailedError, match=f"OperationalError: .*{port}.*refused") as raised:
        spark.fit_als(regular(), SMALL, settings=ONE_THREAD, clickhouse=source)
    assert "hunter2" not in f"{raised.value}{raised.value.__cause__}"
    assert "\n" not in str(raised.value)


def test_data_that_spark_cannot_train_on_is_refused_before_it_starts() -> None:
    data = regular()
    with pytest.raises(spark.SparkDataError, match="no positive"):
        spark.fit_als(replace(data, weight=-np.abs(data.weight)), SMALL, settings=ONE_THREAD, clickhouse=None)
    without = SMALL.model_copy(update={"regularization": 0.0})
    with pytest.raises(spark.SparkDataError, match="regularization above 0"):
        spark.fit_als(data, without, settings=ONE_THREAD, clickhouse=None)


def test_a_second_session_is_refused_and_the_first_one_goes_on() -> None:
    with spark_session(ONE_THREAD) as (session, _):
        with pytest.raises(SparkUnavailableError, match="runs a Spark session already"), spark_session(ONE_THREAD):
            pass
        assert session.range(3).count() == 3


def _rows(batch: object) -> list[tuple[int, int, float]]:
    return [tuple(row.values()) for row in batch.to_pylist()]  # type: ignore[attr-defined]
