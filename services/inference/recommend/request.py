"""What a list is asked with."""

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
    """Whether anybody sees the list: then it is counted, and recorded as an impression."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the impression's record, by which it is followed."""


class UnknownChoiceError(ValueError):
    """The request names something that is not there; ``field`` says which part of it, the message what there is."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
