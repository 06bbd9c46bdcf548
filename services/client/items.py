"""``/v1/items``: the films of the catalogue."""

from services.client.connection import Connection
from services.contracts.ids import ItemId
from services.contracts.rest import Item, ItemList, ItemSearch


class Items:
    """Each method blocks and raises as `Connection.get`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def item(self, item: ItemId) -> Item:
        """Return one film."""
        return self._connection.get(Item, "/v1/items/{item_id}", item)

    def popular(self, k: int, genre: str | None = None) -> ItemList:
        """Return the films that most viewers like, most liked first."""
        return self._connection.get(ItemList, "/v1/items/popular", k=k, genre=genre)

    def similar(self, item: ItemId, k: int) -> ItemList:
        """Return the films most similar to ``item``, most similar first, without ``item`` itself."""
        return self._connection.get(ItemList, "/v1/items/{item_id}/similar", item, k=k)

    def search(self, query: str, k: int) -> list[Item]:
        """Return the films whose titles match, best match first."""
        return self._connection.get(ItemSearch, "/v1/items", query=query, k=k).items
