"""The event's JSON Schema for clients in other languages: ``python -m services.contracts.schema`` writes it anew."""

import json
from pathlib import Path

from services.contracts.events import Event

SCHEMA_FILE = Path(__file__).with_name("event.schema.json")


def render() -> str:
    """Return the schema of `Event` as the file's text."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Event.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(render())
