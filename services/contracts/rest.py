"""Bodies of the REST API under ``/v1``: what the inference service answers and the UI reads."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.contracts.events import MAX_EVENTS_PER_REQUEST, Action, Event, EventIn
from services.contracts.ids import ItemId, UserId

MAX_K = 100
DEFAULT_K = 10
DEFAULT_VARIANT = "default"
ADMIN_KEY_HEADER = "X-Admin-Key"
PROBLEM_MEDIA_TYPE = "application/problem+json"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Strategy(StrEnum):
    """How a list was made."""

    TRAINED = "trained"
    """The model scored the viewer's history as of training; they have given no feedback since."""
    LIVE = "live"
    """The model scored the viewer's whole history, including feedback since training."""
    POPULAR = "popular"
    """Popular films: the viewer likes nothing (cold start)."""
    POPULAR_FALLBACK = "popular_fallback"
    """Fallback to popular films: the model knows none of the liked films."""


class Item(_Answer):
    """A film of the catalogue."""

    id: ItemId
    title: str
    year: int | None = None
    genres: list[str]


class ScoredItem(Item):
    """A film and its score; scores are comparable only within one list."""

    score: float


class _RankedItems(_Answer):
    """Films, best first, and the model version that ranked them."""

    model_version: str
    items: list[ScoredItem]


class Basis(StrEnum):
    """How a list that is not personalised was ranked."""

    POPULAR = "popular"
    """How many viewers like the film."""
    POPULAR_RECENTLY = "popular_recently"
    """How many viewers liked it in the last weeks of the model's data."""
    SAME_VIEWERS = "same_viewers"
    """By the model: films that the same viewers like."""
    SAME_GENRES = "same_genres"
    """Fallback: the model does not know the film, so popular films that share its genres."""


class ItemList(_RankedItems):
    """Films, best first, and how they were ranked."""

    basis: Basis


class Recommendations(_RankedItems):
    """A viewer's list. Send its ``request_id`` with the feedback events that it leads to."""

    request_id: UUID
    user_id: UserId
    model: str = Field(description="The model that was asked, by its name in the bundle.")
    strategy: Strategy
    variant: str = DEFAULT_VARIANT


class ItemSearch(_Answer):
    """Films whose titles match a query, best match first."""

    items: list[Item]


class HistoryEntry(_Answer):
    """A viewer's feedback on one film: the latest value of each signal, None if never given."""

    item: Item
    opinion: int | None = Field(description="+1 liked, -1 disliked, 0 withdrawn.")
    rating: float | None
    watched: bool | None
    updated_at: datetime


class History(_Answer):
    """A viewer's signals, latest first, at most ``limit`` of ``total``."""

    user_id: UserId
    total: int
    entries: list[HistoryEntry]


class EventsIn(BaseModel):
    """A batch of events."""

    model_config = ConfigDict(extra="forbid")

    events: list[EventIn] = Field(min_length=1, max_length=MAX_EVENTS_PER_REQUEST)


class EventAccepted(_Answer):
    """One accepted event as it was stored; the broker has acknowledged it."""

    event_id: UUID
    event_time: datetime
    action: Action
    partition: int
    offset: int


class EventsAccepted(_Answer):
    """One entry per event, in the request's order."""

    accepted: list[EventAccepted]


class ModelInfo(_Answer):
    """The model that this replica serves."""

    version: str
    stage: str
    created_at: datetime
    loaded_at: datetime
    code_revision: str
    users: int
    items: int
    models: dict[str, str] = Field(description="The kind of each of its models, by name.")
    default_model: str = Field(description="The model used unless a request names another.")
    metrics: dict[str, float]


class Reloaded(_Answer):
    """The outcome of a reload: the version now serving and the one before it."""

    version: str
    previous: str | None
    changed: bool


class FieldError(_Answer):
    """An invalid field: its dotted path in the request, and what is wrong with it."""

    field: str
    message: str


class Problem(_Answer):
    """An error as in RFC 9457, with the invalid fields."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[FieldError] = []


class UnconfirmedEvent(_Answer):
    """An event that may or may not have been stored. Send it again with this ``event_id``: it counts once."""

    index: int = Field(description="Position in the request.")
    event_id: UUID
    event_time: datetime


class PublishProblem(Problem):
    """The broker did not acknowledge all events in time; those not listed were stored."""

    unconfirmed: list[UnconfirmedEvent] = []


class Liveness(_Answer):
    """The process answers."""

    status: str = "alive"


class Readiness(_Answer):
    """Whether this replica should get requests, and why not.

    Ready means: a model is loaded, the catalogue is loaded, and the topic has been followed to its head once
    since the start. It stays ready when Kafka or PostgreSQL go away later: lists can still be served.
    """

    ready: bool
    checks: dict[str, bool] = Field(description="The conditions for readiness.")
    details: dict[str, str | None] = Field(description="Further information for operators.")


class Kept(StrEnum):
    """How long a Kafka topic keeps the viewer's records."""

    UNTIL = "until"
    UNLIMITED = "unlimited"
    UNKNOWN = "unknown"
    """Kafka did not answer; ask again."""


class KafkaRecords(_Answer):
    """Kafka topics that may still hold the viewer's records, which are neither served nor trained on."""

    topic: str
    kept: Kept
    until: datetime | None = Field(None, description="The latest time at which the last of them is deleted.")


class Erased(_Answer):
    """The viewer is erased: refused and hidden for good. What is not deleted yet is listed with its deadline."""

    user_id: UserId
    erased_at: datetime
    forgotten_at: datetime | None = Field(
        description="When the last model, run folder or file with the viewer's data was deleted; null: pending."
    )
    pending_bundles: int = Field(description="Models on disk that still contain the viewer; no list uses that data.")
    pending_viewers: int = Field(description="Erasures, including this one, that wait for the nightly run.")
    kafka: list[KafkaRecords]
    not_ours: list[str] = Field(
        description="Where else the viewer's data may be; this service does not delete it there."
    )


class ServedList(_Answer):
    """One list that was served to a viewer."""

    request_id: UUID
    served_at: datetime
    strategy: str
    model_version: str
    item_ids: list[ItemId]


class UserExport(_Answer):
    """Everything that is stored about one viewer, read from the stores."""

    user_id: UserId
    demographics: dict[str, str | int | None] | None
    events: list[Event]
    impressions: list[ServedList]
    quarantined: list[str] = Field(description="Records with this viewer's key that could not be stored as events.")
