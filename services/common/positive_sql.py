"""What counts as liked, as SQL. Apart from `confidence`, because not every image has NumPy."""

from services.contracts.bundle import ConfidenceParameters


def positive_sql(parameters: ConfidenceParameters) -> str:
    """Return the SQL condition equal to `is_positive`, on rows of `signals_v` grouped by viewer and film."""
    p = parameters
    opinion, rating, watched = (f"maxIf(value, signal = '{signal}')" for signal in ("opinion", "rating", "watched"))
    # Each signal is there once at most: max returns it, or 0 where there is none. A rating of 0 is a withdrawn one.
    return (
        f"multiIf({opinion} > 0, {p.like}, {opinion} < 0, {p.dislike},"
        f" {rating} = 0, {watched} * {p.watched}, {rating} >= {p.rating_positive_from}, {p.rating_positive},"
        f" {rating} < {p.rating_negative_below}, {p.rating_negative}, {p.rating_neutral}) > 0"
    )
