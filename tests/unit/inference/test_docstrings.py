"""The docstrings' examples run."""

import doctest
from types import ModuleType

import pytest

from services.common import tracing
from services.inference.http import problems
from services.inference.models import fold_in, ranking


@pytest.mark.parametrize("module", [fold_in, problems, ranking, tracing], ids=lambda module: module.__name__)
def test_the_examples_of_a_module_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
