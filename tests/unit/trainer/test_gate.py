from services.trainer.gate import Decision, GateLimits, Size, decide

LIMITS = GateLimits(metric_drop=0.05, shrinkage=0.1, min_users=20)
SIZE = Size(items=100, users=1000)


def verdict(
    *, ials: float = 0.25, popular: float = 0.2, champion: float | None = 0.25, users: int = 100,
    size: Size = SIZE, before: Size | None = SIZE,
) -> Decision:  # fmt: skip
    metrics = {"ials": {"ndcg": ials}, "popular": {"ndcg": popular}, "popular_recent": {"ndcg": 0.9}}
    if champion is not None:
        metrics["champion"] = {"ndcg": champion}
    return decide(metrics, users, size, before, LIMITS)


def test_a_model_as_good_as_the_champion_is_promoted_and_the_figures_are_told() -> None:
    assert verdict() == Decision(
        True, ("ndcg 0.2500 against 0.2000 of popularity", "ndcg 0.2500 against 0.2500 of the champion's recipe")
    )


def test_the_first_model_need_only_beat_popularity() -> None:
    assert verdict(champion=None, before=None).promote


def test_a_model_below_popularity_is_refused() -> None:
    assert verdict(ials=0.19, champion=None).reasons == ("ndcg 0.1900 against 0.2000 of popularity",)
    assert not verdict(ials=0.19, champion=None).promote


def test_a_little_below_the_champion_passes_and_clearly_below_does_not() -> None:
    assert verdict(ials=0.2376).promote
    assert not verdict(ials=0.2374).promote


def test_lost_items_or_users_are_refused_by_name() -> None:
    assert verdict(size=Size(items=90, users=900)).promote
    assert verdict(size=Size(items=89, users=1000)).reasons == ("items shrank from 100 to 89",)
    assert verdict(size=Size(items=100, users=899)).reasons == ("users shrank from 1000 to 899",)


def test_too_few_users_prove_nothing() -> None:
    assert decide({}, 0, SIZE, None, LIMITS) == Decision(False, ("only 0 users could be evaluated, 20 are needed",))


def test_a_figure_that_is_not_a_number_is_refused() -> None:
    assert not verdict(ials=float("nan")).promote
