import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, DataError, OperationalError

from services.consumer.errors import Remedy, label_of, remedy_for


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OperationalError("Error ... executing HTTP request attempt 1"), Remedy.RETRY),
        (DatabaseError("HTTP driver received HTTP status 502, server response: Bad Gateway"), Remedy.RETRY),
        (DatabaseError("too many parts", code=252), Remedy.RETRY),
        (DatabaseError("memory limit", code=241), Remedy.RETRY),
        (DatabaseError("a code of the future", code=99_999), Remedy.RETRY),
        (ConnectionResetError(), Remedy.RETRY),
        (DatabaseError("authentication failed", code=516), Remedy.REFUSED),
        (DatabaseError("not enough privileges", code=497), Remedy.REFUSED),
        (DatabaseError("HTTP driver received HTTP status 401"), Remedy.REFUSED),
        (DatabaseError("HTTP driver received HTTP status 403, server response: no"), Remedy.REFUSED),
        (DatabaseError("constraint", code=469), Remedy.BISECT),
        (DataError("Failed to write column"), Remedy.BISECT),
        (DatabaseError("no such table", code=60), Remedy.STOP),
    ],
)
def test_each_error_has_its_remedy(error: Exception, remedy: Remedy) -> None:
    assert remedy_for(error) is remedy


def test_a_metric_label_is_the_code_or_the_kind_never_the_text() -> None:
    assert label_of(DatabaseError("secret", code=252)) == "252"
    assert label_of(ConnectionResetError("secret")) == "ConnectionResetError"
