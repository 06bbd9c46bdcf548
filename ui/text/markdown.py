"""Text of the catalogue and of the service, as Streamlit's Markdown. Pure functions."""

import re


def escaped(text: str) -> str:
    """Return ``text`` for Streamlit's Markdown, taken literally.

    >>> escaped("*batteries* :not: [x]")
    '\\\\*batteries\\\\* \\\\:not\\\\: \\\\[x\\\\]'
    """
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+-.!|~$:" else char for char in text)


def plain(sentence: str) -> str:
    """Return a sentence of the service for Streamlit's Markdown: what it quotes of an address changes nothing.

    >>> plain("there is no genre '**x** [y](z) :red[!]'")
    "there is no genre '\\\\*\\\\*x\\\\*\\\\* \\\\[y\\\\](z) :red\\\\[!\\\\]'"
    """
    return re.sub(r"([\\`*\[\]<>$~|])", r"\\\1", sentence)
