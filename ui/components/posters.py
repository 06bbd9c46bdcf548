"""Posters without pictures: a film's genres choose the colours and the glyph. Pure functions to HTML."""

import hashlib
from html import escape

from services.contracts.rest import Item

# Genre -> (hue in degrees, glyph of the Material Symbols font that Streamlit brings along)
_LOOKS = {
    "Action": (8, "local_fire_department"),
    "Adventure": (32, "explore"),
    "Animation": (190, "animation"),
    "Children's": (48, "toys"),
    "Children": (48, "toys"),
    "Comedy": (42, "sentiment_very_satisfied"),
    "Crime": (352, "fingerprint"),
    "Documentary": (150, "videocam"),
    "Drama": (262, "theater_comedy"),
    "Fantasy": (288, "auto_awesome"),
    "Film-Noir": (220, "nights_stay"),
    "Horror": (338, "skull"),
    "IMAX": (200, "panorama_wide_angle"),
    "Musical": (312, "music_note"),
    "Mystery": (236, "search"),
    "Romance": (330, "favorite"),
    "Sci-Fi": (204, "rocket_launch"),
    "Thriller": (176, "visibility"),
    "War": (84, "shield"),
    "Western": (22, "landscape"),
}
_LEAST_SPECIFIC = ("Drama", "Comedy", "Action", "Thriller")
"""Genres that characterise a film less than others: another genre determines the poster."""
MIN_BAR = 4
"""Percent: even the last film of a list has a visible bar."""


def look(genre: str) -> tuple[int, str]:
    """Return a genre's hue and glyph; an unknown genre gets a hue derived from its name.

    >>> look("Horror")
    (338, 'skull')
    >>> look("Kung Fu") == look("Kung Fu")
    True
    """
    hue = int.from_bytes(hashlib.sha256(genre.encode()).digest()[:2], "big") % 360
    return _LOOKS.get(genre, (hue, "movie"))


def by_character(genres: list[str]) -> list[str]:
    """Return the genres, the most characteristic first.

    >>> by_character(["Action", "Sci-Fi", "Thriller"])
    ['Sci-Fi', 'Thriller', 'Action']
    """
    return sorted(genres, key=lambda g: -_LEAST_SPECIFIC.index(g) if g in _LEAST_SPECIFIC else -len(_LEAST_SPECIFIC))


def bar_percent(score: float, best: float) -> int:
    """Return the length of a score's bar in percent of the list's best score.

    >>> bar_percent(0.5, 1.0), bar_percent(-0.2, 1.0), bar_percent(0.0, 0.0)
    (50, 4, 4)
    """
    return max(MIN_BAR, min(100, round(100 * score / best))) if best > 0 else MIN_BAR


def poster(item: Item, *, rank: int | None = None, bar: int | None = None) -> str:
    """Return the poster's HTML; everything from the catalogue is escaped.

    Args:
        item: the film.
        rank: its place in the list, from 1.
        bar: percent of the best score; None draws no bar.
    """
    genres = by_character(item.genres)
    hue, glyph = look(genres[0]) if genres else (220, "movie")
    second = look(genres[1])[0] if len(genres) > 1 else (hue + 38) % 360
    year = f'<span class="mr-year">{item.year}</span>' if item.year else ""
    place = f'<span class="mr-rank">{rank}</span>' if rank else ""
    meter = f'<div class="mr-bar"><i style="width:{bar}%"></i></div>' if bar is not None else ""
    return (
        f'<div class="mr-poster" style="--h1:{hue};--h2:{second}" data-item="{item.id}">'
        f'<span class="mr-glyph" aria-hidden="true">{glyph}</span>'
        f'<div class="mr-top">{place}{year}</div>'
        f'<div class="mr-foot"><div class="mr-title" title="{escape(item.title)}">{escape(item.title)}</div>'
        f'<div class="mr-genres">{escape(" · ".join(item.genres))}</div>{meter}</div></div>'
    )
