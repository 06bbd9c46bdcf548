"""Dependencies of the routes: the service's parts, and checks that several routes share."""

import hmac
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import SecretStr

from services.contracts.ids import MAX_ID, PROBE_USER, UserId
from services.contracts.rest import ADMIN_KEY_HEADER, DEFAULT_K, MAX_K, FieldError
from services.inference.catalogue.catalogue import Catalogue
from services.inference.events.publisher import EventPublisher
from services.inference.history.live import LiveHistory
from services.inference.history.topic_follower import TopicFollower
from services.inference.http.bulkheads import Bulkhead, ConcurrencyLimit
from services.inference.http.limits import MAX_CONNECTIONS
from services.inference.http.parameters import DIGITS
from services.inference.http.problems import ProblemError, invalid
from services.inference.metrics import Metrics
from services.inference.models.notifications import Notifications
from services.inference.models.store import ModelStore
from services.inference.privacy.erasure import Erasure
from services.inference.recommend.service import Recommendations


@dataclass(frozen=True)
class Services:
    """The parts of one replica, wired in `services.inference.main`."""

    metrics: Metrics
    catalogue: Catalogue
    live: LiveHistory
    follower: TopicFollower
    store: ModelStore
    notifications: Notifications
    recommendations: Recommendations
    events: EventPublisher
    erasure: Erasure
    admin_key: SecretStr
    searches: Bulkhead = field(default_factory=lambda: Bulkhead("a search", at_once=6, waiting=32))
    admin: Bulkhead = field(default_factory=lambda: Bulkhead("the admin routes", at_once=4, waiting=16))
    """Erasure, export and reload, which may take minutes."""
    publishing: ConcurrencyLimit = field(
        default_factory=lambda: ConcurrencyLimit("Kafka", at_once=MAX_CONNECTIONS // 2)
    )
    bodies: Bulkhead = field(default_factory=lambda: Bulkhead("large bodies to be read", at_once=1, waiting=64))


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
K = Annotated[int, Query(ge=1, le=MAX_K, description="The maximum number of films.", examples=[DEFAULT_K]), DIGITS]
Genre = Annotated[str | None, Query(max_length=64, description="Only films of this genre.", examples=["Comedy"])]
UserIdPath = Annotated[
    int, Path(ge=1, le=PROBE_USER, description=f"The viewer's id; {PROBE_USER} is the probe's.", examples=[42]), DIGITS
]
ErasableUserIdPath = Annotated[int, Path(ge=1, le=MAX_ID, description="The viewer's id.", examples=[42]), DIGITS]
"""Not the probe's viewer: the probe needs its id."""
ItemIdPath = Annotated[int, Path(ge=1, le=MAX_ID, description="The film's id.", examples=[50]), DIGITS]


def viewer(services: Services, user_id: int) -> UserId:
    """Return the path's viewer; called in the route, so that invalid parameters are reported first.

    Raises:
        ProblemError: 410, the viewer was erased.
    """
    refuse_erased(services, UserId(user_id), "user_id")
    return UserId(user_id)


def refuse_erased(services: Services, user_id: UserId, field: str) -> None:
    """Raise the 410 if the viewer was erased; ``field`` is the field with their id."""
    if services.live.is_erased(user_id):
        error = FieldError(field=field, message="this viewer was erased; the id is refused from now on")
        raise ProblemError(HTTPStatus.GONE, f"{field}: {error.message}", errors=[error])


_ADMIN_KEY = APIKeyHeader(name=ADMIN_KEY_HEADER, description="The admin key.", auto_error=False)


def _require_admin(
    services: ServicesDep,
    request: Request,
    key: Annotated[str | None, Security(_ADMIN_KEY)],
) -> None:
    if len(request.headers.getlist(ADMIN_KEY_HEADER)) > 1:
        raise invalid(ADMIN_KEY_HEADER, "is given more than once")
    if not key:
        raise _refused(HTTPStatus.UNAUTHORIZED, "is missing")
    if not hmac.compare_digest(key.encode(), services.admin_key.get_secret_value().encode()):
        raise _refused(HTTPStatus.FORBIDDEN, "is wrong")


def _refused(status: HTTPStatus, what: str) -> ProblemError:
    error = FieldError(field=ADMIN_KEY_HEADER, message=what)
    return ProblemError(status, f"{ADMIN_KEY_HEADER} {what}", errors=[error])


AdminOnly = Depends(_require_admin)
"""A route's dependency: 401 without the admin key, 403 with a wrong one; compared in constant time."""
