"""Films: popular, similar, search."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool

from services.contracts.ids import ItemId
from services.contracts.rest import DEFAULT_K, FieldError, Item, ItemList, ItemSearch
from services.inference.http.dependencies import Genre, ItemIdPath, K, Services, ServicesDep
from services.inference.http.openapi import problems
from services.inference.http.parameters import TRUE_OR_FALSE, StrictRoute
from services.inference.http.problems import ProblemError, invalid

router = APIRouter(prefix="/v1/items", tags=["films"], route_class=StrictRoute)


@router.get("", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
async def search(
    services: ServicesDep,
    query: Annotated[str, Query(min_length=1, max_length=200, description="Part of a title; typos are tolerated.")],
    k: K = DEFAULT_K,
) -> ItemSearch:
    """Films whose titles match, best match first."""
    if not query.strip():
        raise invalid("query", "is blank")
    if "\x00" in query:
        raise invalid("query", "contains a NUL character")
    return ItemSearch(items=await services.searches.run(services.catalogue.search, query, k))


@router.get("/popular", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
def popular_items(
    services: ServicesDep,
    k: K = DEFAULT_K,
    genre: Genre = None,
    recent: Annotated[
        bool, Query(description="Count only likes of the last weeks of the model's data."), TRUE_OR_FALSE
    ] = False,
) -> ItemList:
    """Films that most viewers like; the score is the number of viewers.

    With `recent`, films without a recent like follow, with a score below 1: ordered by the shortest of increasingly
    long periods in which they were liked, then by the number of likes.
    """
    return services.recommendations.popular(k, genre=genre, recent=recent)


@router.get("/{item_id}", responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
async def item(item_id: ItemIdPath, services: ServicesDep) -> Item:
    """One film."""
    return await _film(services, item_id)


@router.get("/{item_id}/similar", responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
async def similar_items(item_id: ItemIdPath, services: ServicesDep, k: K = DEFAULT_K) -> ItemList:
    """Films that the same viewers like; for a film without similarities in the model, popular films of its genres.

    ``basis`` tells which; it is popularity alone if no other film shares a genre.
    """
    film = await _film(services, item_id)
    return await run_in_threadpool(services.recommendations.similar, film, k)


async def _film(services: Services, item_id: int) -> Item:
    unknown = await services.catalogue.unknown([ItemId(item_id)])
    film = services.catalogue.get(ItemId(item_id))
    if film is None or unknown:
        error = FieldError(field="item_id", message=f"there is no film {item_id}")
        raise ProblemError(HTTPStatus.NOT_FOUND, f"item_id: {error.message}", errors=[error])
    return film
