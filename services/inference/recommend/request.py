"""The request for a list."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.contracts.ids import UserId


@dataclass(frozen=True)
class ListRequest:
    """A viewer's list of at most ``k`` films."""

    user_id: UserId
    k: int
    genre: str | None = None
    """Only films of this genre."""
    model: str | None = None
    """A model of the served bundle by name; None: its default."""
    is_shown: bool = True
    """Whether the list is shown: then it is counted and recorded as an impression."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Trace headers for the impression's record."""


class UnknownChoiceError(ValueError):
    """The request names an unknown model or genre; ``field`` is the parameter, the message lists the choices."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
