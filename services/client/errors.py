"""What can go wrong with a call, sorted by what the caller can do about it. ``str()`` is fit to be shown."""

from enum import StrEnum
from typing import ClassVar

from services.contracts.rest import Problem


class Outcome(StrEnum):
    """How a call ended."""

    OK = "ok"
    REFUSED = "refused"
    """4xx: the request is wrong."""
    UNAVAILABLE = "unavailable"
    """5xx, or no answer in time."""
    UNEXPECTED = "unexpected"
    """The answer does not match the contract."""


class ApiError(Exception):
    """A call failed; `reason` is for logs: which call, to which address, and how it failed."""

    outcome: ClassVar[Outcome]

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServiceDownError(ApiError):
    """The service is unavailable (5xx): trying again may help."""

    outcome = Outcome.UNAVAILABLE


class UnreachableError(ServiceDownError):
    """No answer: the connection failed or timed out."""


class RefusedError(ApiError):
    """The service understood the request and refused it (4xx): trying again changes nothing."""

    outcome = Outcome.REFUSED

    def __init__(self, problem: Problem, reason: str) -> None:
        wrong = "; ".join(f"{error.field}: {error.message}" for error in problem.errors)
        super().__init__(wrong or problem.detail, reason)
        self.problem = problem


class UnexpectedAnswerError(ApiError):
    """Something answered, but not with what this version of the API returns."""

    outcome = Outcome.UNEXPECTED
