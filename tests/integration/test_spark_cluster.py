"""Training on a real Spark cluster: a standalone master and worker, whose executor is a process of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from services.common import clickhouse
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.bundle import ConfidenceParameters
from services.trainer.engines import spark
from services.trainer.engines.spark_clickhouse import ClickHouseSource
from services.trainer.engines.spark_session import SparkSettings, SparkUnavailableError, spark_session
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.support.spark import ONE_THREAD, QUICK, SMALL, extracted, insert_all_kinds

pyspark = pytest.importorskip("pyspark", reason="pyspark is an environment of its own: infra/requirements/spark.in")

SPARK_CLASS = Path(pyspark.__file__).parent / "bin/spark-class"
# Without our code on its path: the executors have what the session sends them.
ENVIRONMENT = {"PYTHONPATH": "", "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSettings]:
    folder = tmp_path_factory.mktemp("spark")
    master = f"spark://127.0.0.1:{free_port()}"

    def daemon(name: str, *argv: str) -> ServiceProcess:
        options = ["--host", "127.0.0.1", "--webui-port", str(free_port())]
        return ServiceProcess(
            name,
            [str(SPARK_CLASS), f"org.apache.spark.deploy.{name.lower()}.{name}", *options, *argv],
            folder / f"{name}.log",
            env=ENVIRONMENT,
        )

    with daemon("Master", "--port", master.rpartition(":")[2]) as first:
        first.wait_ready(lambda: "New state: ALIVE" in first.log_tail())
        worker = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work"), master]
        with daemon("Worker", *worker) as second:
            second.wait_ready(lambda: "Successfully registered" in second.log_tail())
            yield SparkSettings(
                master=master, driver_memory="1g", executor_memory="512m", driver_host="127.0.0.1", blocks=2,
                folder=(folder / "shared").as_uri(), python=sys.executable, conf=QUICK,
            )  # fmt: skip


def test_a_clusters_executors_read_clickhouse_and_train_the_model_of_this_machine(
    cluster: SparkSettings, clickhouse_database: str
) -> None:
    client = clickhouse.connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    insert_all_kinds(client)
    data = extracted(client, ConfidenceParameters())
    source = ClickHouseSource(SecretStr(clickhouse_database), ConfidenceParameters())
    there = spark.fit_als(data, SMALL, settings=cluster, clickhouse=source)
    here = spark.fit_als(data, SMALL, settings=ONE_THREAD, clickhouse=None)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    assert cluster.folder is not None
    shared = Path(cluster.folder.removeprefix("file://"))
    assert shared.is_dir()
    assert not list(shared.iterdir()), "the weights are deleted"


def test_a_cluster_without_a_worker_that_is_large_enough_is_named(cluster: SparkSettings) -> None:
    too_large = cluster.model_copy(update={"executor_memory": "3g", "start_seconds": 2.0})
    with (
        pytest.raises(SparkUnavailableError, match=f"{cluster.master} gave no executor within 2 s"),
        spark_session(too_large),
    ):
        pass
