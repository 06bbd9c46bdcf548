"""What is refused before Spark is started, and that the message says what to do."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.trainer.engines.spark_session import (
    SparkSettings,
    SparkUnavailableError,
    check_installed,
    check_master,
)
from tests.support.ports import free_port


@pytest.fixture
def pyspark_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


def test_without_pyspark_the_message_names_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SparkUnavailableError, match=r"infra/requirements/spark\.in"):
        check_installed()


@pytest.mark.usefixtures("pyspark_there")
def test_without_java_the_message_names_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SparkUnavailableError, match=f"Java 17 or later, and there is no `java` in {tmp_path}/bin"):
        check_installed()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SparkUnavailableError, match="no `java` in PATH"):
        check_installed()


@pytest.mark.usefixtures("pyspark_there")
@pytest.mark.parametrize(
    ("printed", "enough"), [("11.0.2", False), ("1.8.0_292", False), ("17", True), ("21.0.1", True)]
)
def test_an_old_java_is_refused(printed: str, enough: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{printed}\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if enough:
        check_installed()
    else:
        with pytest.raises(SparkUnavailableError, match=printed):
            check_installed()


def test_a_master_that_does_not_answer_is_named() -> None:
    master = f"spark://127.0.0.1:{free_port()}"
    with pytest.raises(SparkUnavailableError, match=f"{master} does not answer: .*refused"):
        check_master(master)
    with pytest.raises(SparkUnavailableError, match="does not answer"):
        check_master("spark://127.0.0.1:notaport")


@pytest.mark.parametrize(
    "wrong",
    [
        {"master": "localhost:7077"},
        {"master": "local[0]"},
        {"master": "spark://spark:7077"},
        {"driver_memory": "2"},
        {"driver_memory": "0g"},
        {"executor_memory": "lots"},
        {"blocks": 0},
        {"checkpoint_interval": 0},
        {"threads": 2},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SparkSettings.model_validate(wrong)


def test_a_cluster_with_a_shared_folder_is_accepted() -> None:
    assert not SparkSettings(master="spark://spark:7077", folder="s3a://bucket/spark").is_local
    assert SparkSettings().is_local
