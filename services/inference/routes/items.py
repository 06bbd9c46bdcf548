"""What concerns films: popular ones, similar ones, finding one."""

from http import HTTPStatus
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query

from services.contracts.ids import ItemId
from services.contracts.rest import DEFAULT_K, Basis, FieldError, Item, ItemList, ItemSearch
from services.inference.dependencies import Genre, ItemIdPath, K, Services, ServicesDep
from services.inference.model import Model
from services.inference.openapi import problems
from services.inference.problems import ProblemError, invalid
from services.inference.recommender import Ranked, popular, similar, similar_by_genre
from services.inference.routes.genres import genre_index

router = APIRouter(prefix="/v1/items", tags=["films"])


@router.get("", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
def search(
    services: ServicesDep,
    query: Annotated[str, Query(min_length=1, max_length=200, description="Part of a title; typos are forgiven.")],
    k: K = DEFAULT_K,
) -> ItemSearch:
    """Films whose titles match, best match first."""
    if not query.strip():
        raise invalid("query", "is blank")
    if "\x00" in query:
        raise invalid("query", "has a NUL character")
    return ItemSearch(items=services.catalogue.search(query, k))


@router.get("/popular", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
def popular_items(
    services: ServicesDep,
    k: K = DEFAULT_K,
    genre: Genre = None,
    recent: Annotated[bool, Query(description="Count only likes of the last weeks of the model's data.")] = False,
) -> ItemList:
    """Films that most viewers like; the score is how many do."""
    model = services.serving.model()
    index = genre_index(services, model, genre)
    unheard = index is None and genre is not None
    ranked = Ranked.empty() if unheard else popular(model, k, genre=index, recent=recent)
    basis = Basis.POPULAR_RECENTLY if recent else Basis.POPULAR
    return ItemList(model_version=model.version, items=services.serving.items(model, ranked), basis=basis)


@router.get("/{item_id}", responses=problems(HTTPStatus.NOT_FOUND))
def item(item_id: ItemIdPath, services: ServicesDep) -> Item:
    """One film."""
    return _film(services, item_id)


@router.get("/{item_id}/similar", responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
def similar_items(item_id: ItemIdPath, services: ServicesDep, k: K = DEFAULT_K) -> ItemList:
    """Films that the same viewers like; for one that the model does not know yet, popular ones of its genres.

    ``basis`` says which of the two, or that the film has no genre that the model knows: popular films.
    """
    film = _film(services, item_id)
    model = services.serving.model()
    ranked, basis = near(model, film, k)
    return ItemList(model_version=model.version, items=services.serving.items(model, ranked), basis=basis)


def near(model: Model, film: Item, k: int) -> tuple[Ranked, Basis]:
    """Return the films nearest to `film`, itself left out, and what is meant by near.

    A film without factors points nowhere: the model knows its id and nothing else.
    """
    (index,), (known,) = model.indices_of(np.array([film.id], np.int64))
    if known and model.directions[index].any():
        return similar(model, int(index), k), Basis.SAME_VIEWERS
    ranked = similar_by_genre(model, film.genres, k + 1)
    others = np.flatnonzero((ranked.indices != index) | ~known)[:k]
    shares_genres = any(genre in model.genre_index for genre in film.genres)
    return (
        Ranked(ranked.indices[others], ranked.scores[others]),
        Basis.SAME_GENRES if shares_genres else Basis.POPULAR,
    )


def _film(services: Services, item_id: int) -> Item:
    film = services.catalogue.get(ItemId(item_id))
    if film is None and not services.catalogue.unknown([ItemId(item_id)]):
        film = services.catalogue.get(ItemId(item_id))
    if film is None:
        error = FieldError(field="item_id", message=f"there is no film {item_id}")
        raise ProblemError(HTTPStatus.NOT_FOUND, f"item_id: {error.message}", errors=[error])
    return film
