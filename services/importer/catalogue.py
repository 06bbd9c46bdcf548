"""The catalogue's titles, from PostgreSQL."""

from typing import Any

from psycopg import Connection, sql

from services.contracts.tables import ITEMS


def read_titles(connection: Connection[Any]) -> dict[int, str]:
    """Return each film's title."""
    with connection.transaction():
        return dict(
            connection.execute(sql.SQL("SELECT item_id, title FROM {}").format(sql.Identifier(ITEMS))).fetchall()
        )
