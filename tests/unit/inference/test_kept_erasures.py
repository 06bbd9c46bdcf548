"""Erased viewers stay refused after a restart, whichever replica on the machine recorded them."""

from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from services.contracts.ids import UserId
from services.inference.history.live import LiveHistory
from services.inference.local_state import LocalState
from services.inference.privacy.erasure import Erasure
from services.inference.recommend.service import Recommendations

NOWHERE = SecretStr("http://default:@127.0.0.1:9/default")


class _Nothing:
    """In place of what is computed from live signals."""

    def forget(self, user_ids: frozenset[UserId]) -> None:
        pass


def replica(folder: Path) -> tuple[Erasure, LiveHistory]:
    live = LiveHistory()
    other: Any = _Nothing()
    erasure = Erasure(
        other, NOWHERE, live=live, recommendations=cast(Recommendations, other), remaining=other,
        state=LocalState(folder),
    )  # fmt: skip
    return erasure, live


def test_a_replica_never_drops_erasures_that_another_recorded(tmp_path: Path) -> None:
    one, other, one_again = (replica(tmp_path)[0] for _ in range(3))
    one._forget(frozenset({UserId(1)}))
    other._forget(frozenset({UserId(2)}))
    one_again._forget(frozenset())
    restarted, live = replica(tmp_path)
    restarted.read_kept()
    assert [user for user in (1, 2, 3) if live.is_erased(UserId(user))] == [1, 2]


def test_with_nothing_kept_nobody_is_refused(tmp_path: Path) -> None:
    restarted, live = replica(tmp_path)
    restarted.read_kept()
    assert live.erased == frozenset()
