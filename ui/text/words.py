"""Headlines and explanations of lists, from strategy and history. Pure functions."""

from services.client.errors import ApiError
from services.contracts.rest import Basis, History, Strategy
from ui.text.markdown import plain


def headline(strategy: Strategy, history: History | None) -> str:
    """Return the headline of a list: why it looks as it does; the history may be unavailable (None)."""
    if strategy in (Strategy.POPULAR, Strategy.POPULAR_FALLBACK):
        return "Popular now"
    return f"Because of {reasons(history) if history else 'what you said'}"


def detail(strategy: Strategy, history: History | None) -> str:
    """Return one sentence more than `headline`."""
    if strategy is Strategy.POPULAR_FALLBACK:
        return "What most viewers like. The films that you like are new to us; after the next training they count."
    if strategy is Strategy.POPULAR and history and history.total:
        return "What most viewers like, without what you have judged or seen. Like a film to make this list yours."
    if strategy is Strategy.POPULAR:
        return "What most viewers like. Like a film or two, and this list becomes yours."
    if strategy is Strategy.LIVE:
        return "Made from everything you said, up to a moment ago."
    return "Made by the latest training from everything you said."


def near(basis: Basis) -> tuple[str, str]:
    """Return the headline of similar films, and one sentence on how they were chosen."""
    if basis is Basis.SAME_VIEWERS:
        return "Viewers who like it also like", "Chosen by the latest training, from what viewers said."
    if basis is Basis.SAME_GENRES:
        return "Popular films of its genres", "The latest training does not know this film; after the next one it may."
    return "Popular now", "The latest training knows neither this film nor its genres."


def failed(what: str, error: ApiError) -> str:
    """Return the sentence for a part of a page that cannot be shown."""
    return f"{what} cannot be shown. {plain(str(error))}"


def reasons(history: History) -> str:
    """Return what the viewer said, counted; of a longer history than is at hand, only how long it is.

    Films the viewer said nothing about any more (an opinion withdrawn) don't count.
    """
    if history.total > len(history.entries):
        return f"what you said about {history.total:,} films"
    counts = {
        "like": sum(entry.opinion == 1 for entry in history.entries),
        "dislike": sum(entry.opinion == -1 for entry in history.entries),
        "rating": sum(bool(entry.rating) for entry in history.entries),
        "film seen": sum(bool(entry.watched) for entry in history.entries),
    }
    parts = [f"{count} {_plural(name, count)}" for name, count in counts.items() if count]
    if not parts:
        return "what you said"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plural(name: str, count: int) -> str:
    if count == 1:
        return name
    return "films seen" if name == "film seen" else f"{name}s"
