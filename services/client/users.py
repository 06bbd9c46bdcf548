"""``/v1/users``: a viewer's recommendations and feedback."""

from services.client.connection import Connection
from services.contracts.ids import UserId
from services.contracts.rest import History, Recommendations


class Users:
    """Each method blocks and raises as `Connection.get`; for None the service uses its default."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def recommendations(self, user: UserId, k: int | None = None, genre: str | None = None) -> Recommendations:
        """Return the viewer's list, best first, without the films they have seen."""
        return self._connection.get(Recommendations, "/v1/users/{user_id}/recommendations", user, k=k, genre=genre)

    def history(self, user: UserId, limit: int | None = None) -> History:
        """Return the viewer's feedback, latest first."""
        return self._connection.get(History, "/v1/users/{user_id}/history", user, limit=limit)
