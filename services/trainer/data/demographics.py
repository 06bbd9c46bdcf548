"""The viewers' age groups, genders and occupations, from PostgreSQL; kept with the extract, of its viewers only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from services.contracts.tables import USERS
from services.models.viewer import indices_of

COLUMNS = ("age", "gender", "occupation")
_AGE_GROUPS_FROM = (18, 25, 35, 45, 50, 56)
"""The lowest age of each group but the first: those of MovieLens 1M."""


@dataclass(frozen=True)
class Demographics:
    """What is known about viewers."""

    user_ids: NDArray[np.int64]
    """(d,) ascending."""
    groups: NDArray[np.int16]
    """(d, 3) the viewer's group by each of `COLUMNS`; −1: unknown."""

    def groups_of(self, user_ids: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return (len(user_ids), 3) groups; −1 where unknown.

        >>> demographics_of([(3, 24, "F", None), (5, 60, "M", "artist")]).groups_of(np.array([5, 9, 3])).tolist()
        [[6, 1, 0], [-1, -1, -1], [1, 0, -1]]
        """
        result = np.full((len(user_ids), len(COLUMNS)), -1, np.int16)
        if len(self.user_ids):
            found, known = indices_of(self.user_ids, user_ids)
            result[known] = self.groups[found[known]]
        return result

    def save(self, directory: Path) -> None:
        """Write the arrays as ``.npy`` files."""
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "user_ids.npy", self.user_ids, allow_pickle=False)
        np.save(directory / "groups.npy", self.groups, allow_pickle=False)

    @classmethod
    def open(cls, directory: Path) -> "Demographics":
        """Read what `save` wrote."""
        return cls(*(np.load(directory / f"{name}.npy", allow_pickle=False) for name in ("user_ids", "groups")))


def demographics_of(rows: list[tuple[int, int | None, str | None, str | None]]) -> Demographics:
    """Return the groups of viewers given as id, age, gender and occupation."""
    rows = sorted(rows)
    groups = np.full((len(rows), len(COLUMNS)), -1, np.int16)
    for place, (_, age, _, _) in enumerate(rows):
        if age is not None:
            groups[place, 0] = np.searchsorted(_AGE_GROUPS_FROM, age, side="right")
    for column in (1, 2):
        names = sorted({str(row[column + 1]) for row in rows if row[column + 1] is not None})
        for place, row in enumerate(rows):
            if row[column + 1] is not None:
                groups[place, column] = names.index(str(row[column + 1]))
    return Demographics(np.array([row[0] for row in rows], np.int64), groups)


NO_DEMOGRAPHICS = demographics_of([])


def read_demographics(connection: Connection[Any], user_ids: NDArray[np.int64]) -> Demographics:
    """Return what PostgreSQL knows of these viewers, and of nobody else."""
    query = sql.SQL("SELECT user_id, age, gender, occupation FROM {}").format(sql.Identifier(USERS))
    wanted = set(user_ids.tolist())
    with connection.transaction():
        rows = connection.execute(query).fetchall()
    return demographics_of([row for row in rows if row[0] in wanted])
