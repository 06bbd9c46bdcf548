"""The page on a stand-in for the service, over real HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.unit.ui.fake_api import FakeState, serving

APP = Path(__file__).resolve().parents[3] / "ui" / "app.py"


@dataclass
class FakeService:
    """A running stand-in and what it was told."""

    url: str
    state: FakeState


@pytest.fixture
def service() -> Iterator[FakeService]:
    state = FakeState()
    with serving(state) as url:
        yield FakeService(url, state)


@pytest.fixture
def app(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page as viewer 42, not yet run."""
    monkeypatch.setenv("INFERENCE_URL", service.url)
    monkeypatch.setenv("UI_LIST_SIZE", "12")
    monkeypatch.setenv("UI_METRICS_PORT", "0")
    st.cache_resource.clear()
    st.cache_data.clear()
    at = AppTest.from_file(str(APP), default_timeout=20)
    at.query_params["viewer"] = "42"
    return at
