"""What the importer reads from the environment; each command only what it needs."""

from pathlib import Path

from pydantic import Field

from services.common.settings import ClickHouseSettings, LogSettings, PostgresSettings


class LoadSettings(ClickHouseSettings, PostgresSettings, LogSettings):
    """What `load` needs."""


class ForgetSettings(PostgresSettings, LogSettings):
    """What `forget-files` needs."""

    landing_dir: Path = Field(description="Where files of ratings land; they move on within it.")


class ImportSettings(ForgetSettings, LoadSettings):
    """What `import-files` needs."""
