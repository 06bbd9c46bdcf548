"""Wiring: builds the parts of one replica from its settings. Nothing connects before the application starts."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timezone
from functools import partial

from fastapi import FastAPI
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from starlette.concurrency import run_in_threadpool

from services.common import postgres
from services.contracts.origin_guard import OriginGuard
from services.contracts.topics import EVENTS_TOPIC, IMPRESSIONS_TOPIC
from services.inference.catalogue.catalogue import Catalogue
from services.inference.events.impressions import ImpressionPublisher
from services.inference.events.publisher import EventPublisher
from services.inference.history.backfill import Backfill
from services.inference.history.live import LiveHistory
from services.inference.history.topic_follower import TopicFollower
from services.inference.history.topic_reader import TopicReader
from services.inference.http.app import create_app
from services.inference.http.dependencies import Services
from services.inference.local_state import LocalState
from services.inference.metrics import Metrics
from services.inference.models.notifications import Notifications
from services.inference.models.store import ModelStore
from services.inference.privacy.erasure import Erasure
from services.inference.privacy.remaining_data import RemainingData
from services.inference.recommend.service import Recommendations
from services.inference.settings import InferenceSettings

log = logging.getLogger(__name__)


def build(
    settings: InferenceSettings,
    *,
    events_topic: str = EVENTS_TOPIC,
    impressions_topic: str = IMPRESSIONS_TOPIC,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> FastAPI:
    """Return the application of one replica."""
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    metrics = Metrics(registry)
    kafka = settings.kafka_bootstrap_servers
    pool = postgres.pool(settings.postgres_dsn)
    state = LocalState(settings.local_state_dir)
    catalogue = Catalogue(pool, state)
    live = LiveHistory()
    reader = TopicReader(kafka, events_topic, metrics)
    backfill = Backfill(settings.clickhouse_url, reader=reader, live=live, metrics=metrics)
    follower = TopicFollower(events_topic, live=live, reader=reader, backfill=backfill, metrics=metrics)
    store = ModelStore(
        settings.model_dir, pool=pool, catalogue=catalogue, state=state, live=live, follower=follower,
        metrics=metrics, now=now,
    )  # fmt: skip
    impressions = ImpressionPublisher(kafka, impressions_topic, metrics)
    recommendations = Recommendations(store, live, catalogue, impressions=impressions, metrics=metrics, now=now)
    remaining = RemainingData(settings.model_dir, kafka, (events_topic, impressions_topic))
    erasure = Erasure(
        pool,
        settings.clickhouse_url,
        live=live,
        recommendations=recommendations,
        remaining=remaining,
        state=state,
    )
    notifications = Notifications(settings.postgres_dsn, store, erasure.read_erased, read_kept_erased=erasure.read_kept)
    events = EventPublisher(
        kafka, events_topic, metrics, live=live, timeout_seconds=settings.publish_timeout_seconds, now=now
    )

    # Started in this order and stopped in reverse, after the server has answered every request: what is queued then is
    # impressions, or events whose clients were told that the outcome is unknown.
    background: tuple[tuple[Callable[[], object] | None, Callable[[], object]], ...] = (
        (partial(pool.open, wait=False), pool.close),
        (None, catalogue.close),
        (impressions.start, impressions.stop),
        (events.start, events.stop),
        (None, follower.stop),  # the first model starts it
        (notifications.start, notifications.stop),  # loads the first model
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stops:
            for start, stop in background:
                if start is not None:
                    start()
                stops.push_async_callback(run_in_threadpool, stop)
            yield

    services = Services(
        metrics=metrics, catalogue=catalogue, live=live, follower=follower, store=store, notifications=notifications,
        recommendations=recommendations, events=events, erasure=erasure, admin_key=settings.admin_api_key,
    )  # fmt: skip
    return create_app(services, lifespan, OriginGuard(settings.host_names))
