"""Text of the catalogue and of the service, as Streamlit's Markdown. Pure functions."""

import re


def escaped(text: str) -> str:
    """Return ``text`` for Streamlit's Markdown, taken literally.

    >>> escaped("*batteries* :not: [x]")
    '\\\\*batteries\\\\* \\\\:not\\\\: \\\\[x\\\\]'
    """
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+-.!|~$:" else char for char in text)


def plain(sentence: str) -> str:
    """Return an API message for Streamlit's Markdown, with what it quotes from an address escaped.

    >>> plain("there is no genre '**x** [y](z) :red[!]'")
    "there is no genre '\\\\*\\\\*x\\\\*\\\\* \\\\[y\\\\](z) :red\\\\[!\\\\]'"
    """
    return re.sub(r"([\\`*\[\]<>$~|])", r"\\\1", sentence)
