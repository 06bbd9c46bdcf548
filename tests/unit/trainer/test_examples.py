"""The examples in the docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

TRAINER = Path(__file__).parents[3] / "services/trainer"
MODULES = sorted(path.stem for path in TRAINER.glob("*.py") if ">>>" in path.read_text())


@pytest.mark.parametrize("name", [*(f"services.trainer.{name}" for name in MODULES), "services.common.confidence"])
def test_the_examples_of(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
