"""The paired bootstrap, on differences whose interval is known without it."""

import numpy as np
import pytest

from services.trainer.evaluation.comparison import RESAMPLES, compare


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    # 40 of 100 users gain 1: a resample's mean is Binomial(100, 0.4) / 100; its 2.5 % and 97.5 % points: 0.31 and 0.50.
    candidate = np.array([1.0] * 40 + [0.0] * 60)
    found = compare(candidate, np.zeros(100))
    assert found.difference == 0.4
    assert found.low == pytest.approx(0.31, abs=0.011)
    assert found.high == pytest.approx(0.50, abs=0.011)


def test_pairing_finds_a_small_gain_that_the_users_own_spread_would_hide() -> None:
    random = np.random.default_rng(1)
    of_users = random.uniform(0, 1, 300)
    gains = random.normal(0.01, 0.02, 300)
    paired = compare(of_users + gains, of_users)
    assert paired.low > 0
    shuffled = compare(of_users + gains, random.permutation(of_users))
    assert shuffled.low < 0 < shuffled.high


def test_the_same_input_gives_the_same_interval_and_another_seed_nearly_the_same() -> None:
    random = np.random.default_rng(2)
    a, b = random.uniform(0, 1, 200), random.uniform(0, 1, 200)
    assert compare(a, b) == compare(a, b)
    assert compare(a, b, seed=7).low == pytest.approx(compare(a, b).low, abs=0.01)
    assert RESAMPLES >= 1_000


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        found = compare(random.normal(0.1, 1, 100), np.zeros(100), resamples=1_000)
        held += found.low <= 0.1 <= found.high
    assert 180 <= held <= 198


def test_figures_of_other_users_or_of_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="one figure per user"):
        compare(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="one figure per user"):
        compare(np.zeros(0), np.zeros(0))
