"""What the gate asks of an evaluation, and of a finished bundle."""

import numpy as np

from services.common.bundle import Bundle
from services.models.loader import fallback_scores, load_recommenders
from services.trainer.data.moments import Timelines, before_each_like
from services.trainer.data.signals import Histories
from services.trainer.evaluation.comparison import Comparison, compare
from services.trainer.evaluation.evaluate import SEED, Outcome
from services.trainer.evaluation.gate import METRIC, RIVALS
from services.trainer.evaluation.lists import lists_of
from services.trainer.evaluation.metrics import K

NEWCOMERS_LIKES = 2
_VIEWERS = 300


def beside_rivals(outcome: Outcome, candidate: str, *, most_likes: int | None = None) -> dict[str, Comparison]:
    """Return the candidate's NDCG beside each of `RIVALS` that was measured, on the lists of viewers with few likes.

    Nothing without such lists. ``most_likes``: None, all lists.
    """
    chosen = np.ones(len(outcome.moments), bool) if most_likes is None else outcome.likes <= most_likes
    if not chosen.any() or candidate not in outcome.models:
        return {}
    figures = {name: measured.per_moment[METRIC][chosen] for name, measured in outcome.models.items()}
    users = outcome.users[chosen]
    return {rival: compare(figures[candidate], figures[rival], users) for rival in RIVALS if rival in figures}


def own_likes_found(bundle: Bundle) -> float | None:
    """Return NDCG of the bundle's default model for one like of each of 300 viewers, asked for just before it.

    The model has been trained on these likes, so a sound one finds them well. None: nobody likes anything.
    """
    arrays, manifest = bundle.arrays, bundle.manifest
    histories = Histories(
        arrays["user_ids"], *(arrays[f"history_{name}"] for name in
        ("indptr", "item_ids", "opinion", "rating", "watched", "versions")),
    )  # fmt: skip
    timelines, random = Timelines(histories, manifest.confidence), np.random.default_rng(SEED)
    users = [user for user in random.permutation(len(histories.user_ids))[: 2 * _VIEWERS] if len(timelines.likes(user))]
    item_ids = np.asarray(arrays["item_ids"])
    moments = list(before_each_like(timelines, item_ids, users[:_VIEWERS], 0, 1 << 63, per_user=1, random=random))
    if not moments:
        return None
    models = load_recommenders(manifest.models, bundle.models, arrays)
    lists = lists_of(models[manifest.default_model], moments, item_ids, fallback_scores(models, arrays["popularity"]))
    hits = lists.item_ids[:, :K] == np.array([moment.targets[0] for moment in moments])[:, None]
    return float((hits / np.log2(np.arange(2, K + 2))).sum(axis=1).mean())
