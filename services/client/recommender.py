"""The client: its resources over one connection."""

from collections.abc import Callable

from services.client.connection import Call, Connection
from services.client.events import Events
from services.client.items import Items
from services.client.models import Models
from services.client.users import Users


class RecommenderClient:
    """The REST API at ``base_url``; `Connection` describes the other arguments and the errors of every method."""

    def __init__(
        self,
        base_url: str,
        *,
        agent: str,
        timeout_seconds: float = 10,
        keep_alive: bool = True,
        on_call: Callable[[Call], None] | None = None,
    ) -> None:
        connection = Connection(
            base_url, agent=agent, timeout_seconds=timeout_seconds, keep_alive=keep_alive, on_call=on_call
        )
        self.users = Users(connection)
        self.items = Items(connection)
        self.events = Events(connection)
        self.models = Models(connection)
