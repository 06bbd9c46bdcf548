"""What can go wrong with a call, sorted by what the viewer can do about it. ``str()`` is fit to be shown."""

from services.contracts.rest import Problem


class ApiError(Exception):
    """A call to the service failed."""


class ServiceDownError(ApiError):
    """The service does not answer, or asks to come back later: trying again helps."""


class RefusedError(ApiError):
    """The service understood the request and refused it: trying again changes nothing."""

    def __init__(self, problem: Problem) -> None:
        wrong = "; ".join(f"{error.field}: {error.message}" for error in problem.errors)
        super().__init__(wrong or problem.detail)
        self.problem = problem


class UnexpectedAnswerError(ApiError):
    """Something answered, but not as this version of the API does."""
