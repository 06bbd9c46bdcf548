"""The parameter `genre`, which several routes take."""

from services.inference.dependencies import Services
from services.inference.model import Model
from services.inference.problems import invalid


def genre_index(services: Services, model: Model, genre: str | None) -> int | None:
    """Return the genre's index in the model; None without a genre, or for one that no film of the model has.

    Raises:
        ProblemError: 422, nobody has heard of the genre.
    """
    if genre is None:
        return None
    index = model.genre_index.get(genre)
    if index is None and not services.catalogue.has_genre(genre):
        raise invalid("genre", f"there is no genre {genre!r}; there are {', '.join(sorted(model.genre_index))}")
    return index
