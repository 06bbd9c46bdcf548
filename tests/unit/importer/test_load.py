import pytest

from services.importer.load import refuse_another_catalogue
from services.importer.movielens import Film
from services.importer.movielens_tables import MovieLensError

FILMS = [Film(number, f"Film {number}", 1990, ()) for number in range(1, 21)]


def test_the_same_catalogue_with_a_corrected_title_is_loaded() -> None:
    known = {film.item_id: film.title for film in FILMS}
    refuse_another_catalogue(FILMS, known | {3: "Film three"})
    refuse_another_catalogue(FILMS, {})
    refuse_another_catalogue(FILMS, {99: "A film that the files lack"})


def test_another_releases_catalogue_is_refused_naming_a_film() -> None:
    known = {film.item_id: f"Other {film.item_id}" for film in FILMS}
    with pytest.raises(MovieLensError, match="film 1 is 'Other 1' there and 'Film 1' in the files"):
        refuse_another_catalogue(FILMS, known)
