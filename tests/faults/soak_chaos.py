"""Carries the plan of blows out, and notices whoever dies without having been hit."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.faults.soak_plan import Blow, Kind
from tests.support.processes import ServiceProcess

POSTPONE_SECONDS = 0.5


class Chaos:
    """Hits processes when their time has come. Used from one thread, the one that outlives all it starts."""

    def __init__(self, blows: Sequence[Blow], victims: Mapping[str, ServiceProcess]) -> None:
        """``victims`` are all processes that may be hit, and those that never are but must not die either."""
        self._blows = list(blows)
        self._victims = victims
        self._away: dict[str, tuple[float, Kind]] = {}
        self.hits: Counter[tuple[Kind, str]] = Counter()
        self.died: list[str] = []
        """Who ended without having been killed, with its status and the end of its log."""

    def count(self, kind: Kind) -> int:
        """How many blows of that kind have been dealt."""
        return sum(count for (dealt, _), count in self.hits.items() if dealt is kind)

    @property
    def is_over(self) -> bool:
        """Whether every blow has been dealt."""
        return not self._blows

    def tick(self, elapsed: float) -> None:
        """Do what is due ``elapsed`` seconds after the beginning."""
        for name, (until, kind) in list(self._away.items()):
            if until <= elapsed:
                self._bring_back(name, kind)
        self._look_for_the_dead()
        while self._blows and self._blows[0].at <= elapsed:
            self._deal(self._blows.pop(0), elapsed)

    def heal(self) -> None:
        """Bring everybody back."""
        for name, (_, kind) in list(self._away.items()):
            self._bring_back(name, kind)
        self._look_for_the_dead()

    def _deal(self, blow: Blow, elapsed: float) -> None:
        if blow.victim in self._away:  # still away from the last blow; everybody gets what was planned
            later = Blow(elapsed + POSTPONE_SECONDS, blow.victim, blow.kind, blow.seconds)
            self._blows = sorted([*self._blows, later], key=lambda b: b.at)
            return
        process = self._victims[blow.victim]
        if blow.kind is Kind.KILL:
            process.kill9()
        else:
            process.freeze()
        self.hits[blow.kind, blow.victim] += 1
        self._away[blow.victim] = (elapsed + blow.seconds, blow.kind)

    def _bring_back(self, name: str, kind: Kind) -> None:
        del self._away[name]
        if kind is Kind.KILL:
            self._victims[name].start()
        else:
            self._victims[name].thaw()

    def _look_for_the_dead(self) -> None:
        for name, process in self._victims.items():
            if name not in self._away and not process.is_running:
                self.died.append(f"{name} ended by itself with {process.returncode}\n{process.log_tail()}")
                process.start()
