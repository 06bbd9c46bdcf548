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
    """The model scored the history that it was trained on: the viewer has done nothing since."""
    LIVE = "live"
    """The model scored the viewer's whole history, with what they did since it was trained."""
    POPULAR = "popular"
    """Popular films: the viewer likes nothing yet."""
    POPULAR_FALLBACK = "popular_fallback"
    """Popular films: the viewer likes some, and the model knows none of them."""


class Item(_Answer):
    """A film of the catalogue."""

    id: ItemId
    title: str
    year: int | None = None
    genres: list[str]


class ScoredItem(Item):
    """A film with the score that ordered it; scores compare within one list only."""

    score: float


class _RankedItems(_Answer):
    """Films in order, best first, with the model that ordered them."""

    model_version: str
    items: list[ScoredItem]


class Basis(StrEnum):
    """What ordered a list of films that was made for no viewer in particular."""

    POPULAR = "popular"
    """How many viewers like the film."""
    POPULAR_RECENTLY = "popular_recently"
    """How many viewers liked it in the last weeks of the model's data."""
    SAME_VIEWERS = "same_viewers"
    """The model: films that the same viewers like."""
    SAME_GENRES = "same_genres"
    """Fallback where the model does not know the film: popular films that share its genres."""


class ItemList(_RankedItems):
    """Films in order, best first, and what ordered them."""

    basis: Basis


class Recommendations(_RankedItems):
    """A viewer's list. Send ``request_id`` with the events that it leads to."""

    request_id: UUID
    user_id: UserId
    model: str = Field(description="The model that was asked, by its name in the bundle.")
    strategy: Strategy
    variant: str = DEFAULT_VARIANT


class ItemSearch(_Answer):
    """Films whose titles match a query, best match first."""

    items: list[Item]


class HistoryEntry(_Answer):
    """What a viewer said about one film; each signal as it stands now, None when never given."""

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
    """What was stored for one event: the broker has acknowledged it."""

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
    default_model: str = Field(description="The one that answers unless a request names another.")
    metrics: dict[str, float]


class Reloaded(_Answer):
    """The outcome of a reload: the version now serving and the one before it."""

    version: str
    previous: str | None
    changed: bool


class FieldError(_Answer):
    """One field that was wrong: a dotted path into the request, and what is wrong with it."""

    field: str
    message: str


class Problem(_Answer):
    """An error as RFC 9457 lays it out, with the fields that were wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[FieldError] = []


class UnconfirmedEvent(_Answer):
    """An event that may or may not have been stored; sent again with this ``event_id`` it counts once."""

    index: int = Field(description="Position in the request.")
    event_id: UUID
    event_time: datetime


class PublishProblem(Problem):
    """The broker did not acknowledge everything in time; events that are not listed were stored."""

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
    checks: dict[str, bool] = Field(description="What readiness needs.")
    details: dict[str, str | None] = Field(description="What else an operator wants to know.")


class Kept(StrEnum):
    """How long a topic keeps the viewer's records."""

    UNTIL = "until"
    UNLIMITED = "unlimited"
    UNKNOWN = "unknown"
    """Kafka did not say; ask again."""


class KafkaRecords(_Answer):
    """Records of the viewer that Kafka may still hold; nothing that is served or trained on comes from them."""

    topic: str
    kept: Kept
    until: datetime | None = Field(None, description="When the last of them is deleted at the latest.")


class Erased(_Answer):
    """The viewer is refused and hidden for ever; what is not deleted yet is said, with when it will be."""

    user_id: UserId
    erased_at: datetime
    forgotten_at: datetime | None = Field(
        description="Since when no model, folder of a run or landed file holds anything; null: pending until tonight."
    )
    pending_bundles: int = Field(description="Models on disk that still hold the viewer, whom no list uses any more.")
    pending_viewers: int = Field(description="Erased viewers, this one included, who wait for the night.")
    kafka: list[KafkaRecords]
    not_ours: list[str] = Field(description="What may hold the viewer's data and is not deleted by this service.")


class ServedList(_Answer):
    """One list that was served to a viewer."""

    request_id: UUID
    served_at: datetime
    strategy: str
    model_version: str
    item_ids: list[ItemId]


class UserExport(_Answer):
    """Everything that is kept about one viewer, from the stores themselves."""

    user_id: UserId
    demographics: dict[str, str | int | None] | None
    events: list[Event]
    impressions: list[ServedList]
    quarantined: list[str] = Field(description="Records with this viewer's key that could not be stored as events.")
