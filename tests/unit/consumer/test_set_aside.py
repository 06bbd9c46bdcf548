"""Where a stretch of bad records ends: `set-aside` must not take what nobody has looked at."""

import pytest

from services.consumer.set_aside import _Search

GOOD, BAD = ".", "x"


@pytest.mark.parametrize(
    ("log", "stretch"),
    [
        ("xxxx", range(4)),
        ("..xx.x..", range(2, 6)),
        ("..xx.....xx", range(2, 4)),  # five good ones apart: another stretch
        ("..xx....xx", range(2, 10)),
        ("..........xx", None),  # too far away to have tripped anything
        (".........xx", range(9, 11)),
        ("", None),
        ("....", None),
    ],
)
def test_a_stretch_ends_before_enough_good_records_or_where_the_log_does(log: str, stretch: range | None) -> None:
    search = _Search(100, 100 + len(log), within=10, apart=5)
    for offset, record in enumerate(log, 100):
        if search.is_over:
            break
        search.see(offset, is_bad=record == BAD)
    found = search.stretch
    assert found == (None if stretch is None else range(100 + stretch.start, 100 + stretch.stop))
    assert search.is_over
