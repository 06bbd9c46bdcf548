"""The project of docker-compose.yml, with an `.env` of `make env`."""

from pathlib import Path

import pytest

from tests.support.compose import Project, project_of


@pytest.fixture(scope="session")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compose") / ".env"


@pytest.fixture(scope="session")
def project(env_file: Path) -> Project:
    return project_of(env_file)
