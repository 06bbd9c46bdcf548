"""The database `default` as the server has it: tables, and not, as in chDB, any file of the machine by its path.

chDB's own `default` looks a name that is no table up in the file system, which the engine then refuses to whoever may
not read files – even to a plain CREATE TABLE. So chDB's kind gets another name, and `default` is an ordinary database.
"""

import uuid
from pathlib import Path

INTERACTIVE_DATABASE = "chdb"
"""The name under which chDB's own kind of database lives on, of no use to anyone."""


def plain_default_database(data: Path) -> None:
    """Make the engine's folder ``data`` open with an ordinary `default`; the tables of an older one stay in it.

    The engine must not be running on it.
    """
    metadata = data / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    link, definition = metadata / "default", metadata / "default.sql"
    if not definition.exists():
        # chDB's own kind kept its tables in an ordinary database, too, whose id only this link names.
        number = link.readlink().name if link.is_symlink() else str(uuid.uuid4())
        scratch = definition.with_suffix(".making")
        scratch.write_text(f"ATTACH DATABASE _ UUID '{number}'\nENGINE = Atomic\n")
        scratch.rename(definition)
    # The engine makes it anew at each start. Found there, chDB would take the id for its own database as well.
    link.unlink(missing_ok=True)
