"""What counts as positive, in NumPy's words and in ClickHouse's: the same for every combination of signals."""

from itertools import product

import numpy as np
import pytest
from pydantic import SecretStr

from services.common.clickhouse import connect
from services.common.confidence import is_positive
from services.common.positive_sql import positive_sql
from services.contracts.bundle import ConfidenceParameters

OPINIONS, RATINGS, WATCHED = (None, -1, 0, 1), (None, 0, 0.5, 2.5, 3, 3.5, 4, 5), (None, 0, 1)


@pytest.mark.parametrize(
    "parameters",
    [
        ConfidenceParameters(),
        ConfidenceParameters(watched=0, rating_positive_from=3, rating_negative_below=3),
        ConfidenceParameters(rating_neutral=0.1, dislike=0),
    ],
)
def test_clickhouse_and_numpy_call_the_same_pairs_positive(
    clickhouse_database: str, parameters: ConfidenceParameters
) -> None:
    rows, expected = [], set()
    for user, (opinion, rating, watched) in enumerate(product(OPINIONS, RATINGS, WATCHED), start=1):
        given = {"opinion": opinion, "rating": rating, "watched": watched}
        rows += [f"({user}, 1, '{signal}', {value})" for signal, value in given.items() if value is not None]
        positive = is_positive(
            np.array([opinion or 0], np.int8), np.array([rating or np.nan], np.float32),
            np.array([watched or 0], np.uint8), parameters,
        )  # fmt: skip
        if positive[0]:
            expected.add(user)
    found = connect(SecretStr(clickhouse_database)).query(
        "SELECT user_id FROM values('user_id Int64, item_id Int64, signal String, value Float32', "
        f"{', '.join(rows)}) GROUP BY user_id, item_id HAVING {positive_sql(parameters)}"
    )
    assert {row[0] for row in found.result_rows} == expected
    assert 10 < len(expected) < 80
