"""What will be done to whom, and when: all of it decided by the seed before the soak begins. Pure."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SESSION_TIMEOUT_SECONDS = 10
"""After this long a silent member is removed from the group (infra/local/kafka)."""


class Kind(StrEnum):
    """How a process is hit."""

    KILL = "kill"
    """SIGKILL; started again ``seconds`` later."""
    FREEZE = "freeze"
    """SIGSTOP; SIGCONT ``seconds`` later."""


@dataclass(frozen=True)
class Blow:
    """One process is hit ``at`` seconds after the beginning and is away for ``seconds`` at least."""

    at: float
    victim: str
    kind: Kind
    seconds: float


def plan(rng: random.Random, seconds: float, kills: int, freezes: int, weights: Mapping[str, int]) -> list[Blow]:
    """Return exactly that many blows in the order of time, spread over ``seconds``, each at a random moment.

    Every victim is hit once before the first is hit again; after that as often as ``weights`` say.
    """
    blows = []
    for kind, count in ((Kind.KILL, kills), (Kind.FREEZE, freezes)):
        slot = seconds / max(1, count)
        for number, victim in enumerate(_victims(rng, count, weights)):
            at = slot * (number + rng.uniform(0.1, 0.9))
            blows.append(Blow(at, victim, kind, rng.uniform(0, 3) if kind is Kind.KILL else _freeze_seconds(rng)))
    return sorted(blows, key=lambda blow: blow.at)


def _victims(rng: random.Random, count: int, weights: Mapping[str, int]) -> list[str]:
    victims: list[str] = []
    once, by_weight = list(weights), [name for name, weight in weights.items() for _ in range(weight)]
    while len(victims) < count:
        deck = by_weight if victims else once
        victims += rng.sample(deck, len(deck))
    return victims[:count]


def _freeze_seconds(rng: random.Random) -> float:
    """Mostly a hiccup; every fourth time long enough to be taken for dead."""
    return (
        rng.uniform(SESSION_TIMEOUT_SECONDS, SESSION_TIMEOUT_SECONDS + 5) if rng.random() < 0.25 else rng.uniform(1, 5)
    )
