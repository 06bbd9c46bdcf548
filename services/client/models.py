"""``/v1/models``: what is served."""

from services.client.connection import Connection
from services.contracts.rest import ModelInfo


class Models:
    """Blocks and raises as `Connection.get`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def current(self) -> ModelInfo:
        """Return the model that the answering replica serves now."""
        return self._connection.get(ModelInfo, "/v1/models/current")
