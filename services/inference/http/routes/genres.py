"""The parameter `genre`, which several routes take."""

from services.inference.http.problems import invalid
from services.inference.recommend.shelf import Shelf


def genre_index(shelf: Shelf, genre: str | None) -> int | None:
    """Return the genre's index in the catalogue; None without a genre.

    Raises:
        ProblemError: 422, no film has the genre.
    """
    if genre is None:
        return None
    index = shelf.films.genre_index.get(genre)
    if index is None:
        raise invalid("genre", f"there is no genre {genre!r}; there are {', '.join(shelf.films.genre_index)}")
    return index
