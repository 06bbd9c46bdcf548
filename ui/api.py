"""The process's one API client, created on first use, and calls that several pages share."""

import streamlit as st

from services.client.recommender import RecommenderClient
from ui import metrics
from ui.settings import UiSettings


@st.cache_resource(show_spinner=False)
def client() -> RecommenderClient:
    """Return the shared client; the first call also starts its metrics.

    Raises:
        pydantic.ValidationError: a setting is missing or wrong.
    """
    settings = UiSettings()
    metrics.serve(settings.metrics_host, settings.ui_metrics_port, settings.host_names)
    return RecommenderClient(
        str(settings.inference_url),
        agent="movierecs-ui",
        timeout_seconds=settings.ui_timeout_seconds,
        on_call=metrics.observe,
    )


@st.cache_data(ttl=600, show_spinner=False)
def popular_genres(of_films: int = 100) -> list[str]:
    """Return the genres of the most popular films, the most frequent first."""
    counts: dict[str, int] = {}
    for film in client().items.popular(of_films).items:
        for genre in film.genres:
            counts[genre] = counts.get(genre, 0) + 1
    return sorted(counts, key=lambda genre: (-counts[genre], genre))
