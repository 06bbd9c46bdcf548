"""The page on a stand-in for the service, over real HTTP."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import streamlit as st
import uvicorn
from streamlit.testing.v1 import AppTest

from tests.unit.ui.fake_api import FakeState, make_app

APP = Path(__file__).resolve().parents[3] / "ui" / "app.py"


@dataclass
class FakeService:
    """A running stand-in and what it was told."""

    url: str
    state: FakeState


@pytest.fixture
def service() -> Iterator[FakeService]:
    state = FakeState()
    server = uvicorn.Server(uvicorn.Config(make_app(state), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the stand-in did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield FakeService(f"http://127.0.0.1:{port}", state)
    server.should_exit = True
    thread.join(10)


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
