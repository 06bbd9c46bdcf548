"""The one client of this process, made from the environment when the first page asks for it."""

import streamlit as st

from ui import metrics
from ui.client import RecommenderClient
from ui.settings import UiSettings


@st.cache_resource(show_spinner=False)
def client() -> RecommenderClient:
    """Return the shared client; the first call also begins to show its metrics.

    Raises:
        pydantic.ValidationError: a setting is missing or wrong.
    """
    settings = UiSettings()
    metrics.serve(settings.metrics_host, settings.ui_metrics_port)
    return RecommenderClient(str(settings.inference_url), settings.ui_timeout_seconds)


@st.cache_data(ttl=600, show_spinner=False)
def popular_genres(of_films: int = 100) -> list[str]:
    """Return the genres of the most popular films, the most frequent first."""
    counts: dict[str, int] = {}
    for film in client().popular(of_films).items:
        for genre in film.genres:
            counts[genre] = counts.get(genre, 0) + 1
    return sorted(counts, key=lambda genre: (-counts[genre], genre))
