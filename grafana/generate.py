"""`python -m grafana.generate` writes the dashboards' JSON into `grafana/dashboards`, one file per module."""

import json
from pathlib import Path
from types import ModuleType

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import api, consumer, logs, model, recommendations, stack, truth

FOLDER = Path(__file__).parent / "dashboards"
MODULES: tuple[ModuleType, ...] = (truth, consumer, api, model, recommendations, stack, logs)


def documents() -> dict[str, str]:
    """Return each file's name and content."""
    return {
        f"{module.__name__.rpartition('.')[2]}.json": json.dumps(
            module.dashboard(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for module in MODULES
    }


def main() -> None:
    """Write the files; delete those without a module."""
    FOLDER.mkdir(exist_ok=True)
    written = documents()
    for old in FOLDER.glob("*.json"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
