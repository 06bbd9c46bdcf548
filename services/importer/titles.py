"""Film titles as MovieLens writes them, turned into titles as people read them."""

import html
import re

_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>(?:18|19|20)\d{2})(?:[-–](?:(?:18|19|20)\d{2})?)?\)\s*$")
_ARTICLES = "The An A Les Le La L' Los Las El Lo Il I Gli Der Die Das Ein Eine Un Une Una Den Det De Os O"
_TRAILING_ARTICLE = re.compile(rf"^(?P<rest>.+), (?P<article>{'|'.join(_ARTICLES.split())})$")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, line separators, and what turns the direction of all text that follows, on any page."""
_PARENTHESIS = re.compile(r"\(([^()]*)\)")


def plain_text(raw: str) -> str:
    """Return the text without HTML's entities, undone once, and with single spaces for every kind of space.

    >>> plain_text("Tom &amp; Jerry"), plain_text("AT&T &copy &amp;lt;")
    ('Tom & Jerry', 'AT&T &copy &lt;')
    >>> plain_text("  A\\n B "), plain_text("A\\u202eB")
    ('A B', 'A B')
    """
    text = _ENTITY.sub(lambda match: html.unescape(match[0]), raw)
    return " ".join(_CONTROL.sub(" ", text).split())


def parse_title(raw: str) -> tuple[str, int | None]:
    """Return the readable title and the year that the raw title ends with, if it does. Entities are undone.

    MovieLens sorts by the word after the article and appends the year; both are undone, in the
    translated titles in parentheses too.

    >>> parse_title("Matrix, The (1999)")
    ('The Matrix', 1999)
    >>> parse_title("Hate (Haine, La) (1995)")
    ('Hate (La Haine)', 1995)
    >>> parse_title("Girl, Interrupted (1999)")
    ('Girl, Interrupted', 1999)
    >>> parse_title("Babylon 5 ")
    ('Babylon 5', None)
    """
    text = plain_text(raw)
    dated = _YEAR.match(text)
    title, year = (dated["title"], int(dated["year"])) if dated else (text, None)
    head, *tail = re.split(r"(?= \()", title.strip(), maxsplit=1)
    translated = [_PARENTHESIS.sub(lambda match: f"({_article_first(match[1])})", part) for part in tail]
    return "".join([_article_first(head), *translated]), year


def _article_first(title: str) -> str:
    moved = _TRAILING_ARTICLE.match(title.strip())
    if moved is None:
        return title.strip()
    space = "" if moved["article"].endswith("'") else " "
    return f"{moved['article']}{space}{moved['rest']}"
