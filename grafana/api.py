"""Dashboard 3: requests, errors, durations, and how fast the error budget is spent."""

from grafana_foundation_sdk.builders import logs, stat, timeseries
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import process
from grafana.layout import compose, line, numbers, section
from grafana.panels import bad_below, bad_from, chart, log_lines, number, with_logs
from grafana.queries import log_query, mean_of, now, over_time, quantile_of, rate_of
from grafana.variables import replica
from services.contracts import metrics as m

MINE = 'instance=~"$replica"'
MINE_JOB = f'job="inference", {MINE}'
MINE_V1 = f'route=~"/v1/.*", {MINE}'
ALLOWED = 0.001
"""The error budget: this share of the requests may fail; the rules' objective is 99.9 %."""
REQUESTS = f"{m.HTTP_REQUEST_SECONDS.name}_count"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        "movierecs-api",
        "3 API",
        "How many requests, how many errors, how slow, and how fast is the error budget spent?",
        section(
            "Is it healthy?",
            numbers(replicas(), requests_now(), errors_now(), budget_left()),
            line(requests(), errors(), durations()),
        ),
        section("The error budget: 99.9 % of the requests to /v1 in 30 days", line(burn_rates(), error_ratios())),
        section(
            "Where does the time go?",
            line(slow_routes(), scoring(), publishing()),
            line(produced(), seen_by_the_demo(), in_flight()),
        ),
        section("The processes", line(process.cpu(MINE_JOB), process.memory(MINE_JOB))),
        section("What does it log?", line(warnings(), height=10)),
        variables=(replica("inference"),),
    )


def replicas() -> stat.Panel:
    return number(
        "How many replicas are up?",
        "Replicas whose last scrape succeeded.",
        units.Short,
        now('sum (up{job="inference"})'),
        limits=bad_below(1),
    )


def requests_now() -> stat.Panel:
    return number(
        "Requests per second",
        "To /v1, over five minutes, all replicas. Because of the probe it is never 0 for long.",
        units.RequestsPerSecond,
        now("api:requests:rate5m"),
    )


def errors_now() -> stat.Panel:
    return number(
        "Which share of the requests fails?",
        "Answers of 500 and above to /v1, over five minutes, all replicas.",
        units.PercentUnit,
        now("api:error_ratio:rate5m"),
        limits=bad_from(0.0144, ALLOWED),
    )


def budget_left() -> stat.Panel:
    return number(
        "What is left of three days' error budget?",
        "1 minus the failed share of three days divided by the allowed 0.1 %. Below 0 the objective is missed.",
        units.PercentUnit,
        now(f"1 - api:error_ratio:rate3d / {ALLOWED}"),
        limits=bad_below(0.5, 0),
    )


def requests() -> timeseries.Panel:
    return chart(
        "Who asks for what?",
        "Requests per second, by route and method.",
        units.RequestsPerSecond,
        over_time(f"sum by (route, method) (rate({REQUESTS}{{{MINE}}}[$__rate_interval]))", "{{method}} {{route}}"),
    )


def errors() -> timeseries.Panel:
    panel = chart(
        "Which requests fail?",
        "Answers per second of 400 and above, by status. 4xx are the client's, 5xx are ours and spend the budget.",
        units.RequestsPerSecond,
        over_time(
            f'sum by (status) (rate({REQUESTS}{{{MINE_V1}, status=~"[45].."}}[$__rate_interval])) or vector(0)',
            "{{status}}",
        ),
    )
    return with_logs(panel, "inference")


def durations() -> timeseries.Panel:
    return chart(
        "How long does an answer take?",
        "Of all requests to /v1: median, 95th and 99th percentile.",
        units.Seconds,
        *(
            over_time(quantile_of(share, m.HTTP_REQUEST_SECONDS, where=MINE_V1), name)
            for share, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
        ),
    )


def burn_rates() -> timeseries.Panel:
    return chart(
        "How fast is the error budget spent?",
        "Failed share over the allowed 0.1 %: at 1 the budget lasts exactly 30 days, at 14.4 an hour costs 2 % of it. "
        "An alert needs a long and a short window to agree.",
        units.Short,
        *(over_time(f"api:error_ratio:rate{window} / {ALLOWED}", window) for window in ("5m", "30m", "1h", "6h", "3d")),
        limits=bad_from(14.4, 1),
    )


def error_ratios() -> timeseries.Panel:
    return chart(
        "How many requests failed in the last hour?",
        "Answers of 500 and above to /v1 within an hour: a share of few requests says little, their number more.",
        units.Short,
        over_time("api:errors:increase1h", "failed"),
    )


def slow_routes() -> timeseries.Panel:
    return chart(
        "Which route is slow?",
        "The 99th percentile over ten minutes, without the operators' routes.",
        units.Seconds,
        over_time("route:http_server_request_duration_seconds:p99_10m", "{{route}}"),
    )


def scoring() -> timeseries.Panel:
    return chart(
        "How long do scoring and ranking take?",
        "Alone, without HTTP: the mean and the 99th percentile by strategy.",
        units.Seconds,
        over_time(mean_of(m.RECOMMENDATION_SECONDS, by="strategy", where=MINE), "mean, {{strategy}}"),
        over_time(quantile_of(0.99, m.RECOMMENDATION_SECONDS, by="strategy", where=MINE), "99 %, {{strategy}}"),
    )


def publishing() -> timeseries.Panel:
    return chart(
        "How long until Kafka has acknowledged an event?",
        "A viewer's like waits for it. Median and 99th percentile.",
        units.Seconds,
        over_time(quantile_of(0.5, m.EVENTS_PUBLISH_SECONDS, where=MINE), "median"),
        over_time(quantile_of(0.99, m.EVENTS_PUBLISH_SECONDS, where=MINE), "99 %"),
    )


def seen_by_the_demo() -> timeseries.Panel:
    return chart(
        "What does the demo's page see of the API?",
        "95th percentile of its calls, by route and outcome, over the whole time shown: visitors are rare.",
        units.Seconds,
        over_time(
            f"histogram_quantile(0.95, sum by (le, route, outcome) (rate({m.UI_API_SECONDS.name}_bucket[$__range])))",
            "{{route}} {{outcome}}",
        ),
    )


def in_flight() -> timeseries.Panel:
    return chart(
        "How many requests are being answered?",
        "By replica. If it grows and does not fall, something behind the API has stopped.",
        units.Short,
        over_time(f"{m.HTTP_IN_FLIGHT.name}{{{MINE}}}", "{{instance}}"),
    )


def produced() -> timeseries.Panel:
    return chart(
        "What happened to the events sent to Kafka?",
        "By outcome: acknowledged by Kafka, unconfirmed (the client was told so) or refused at once.",
        units.EventsPerSecond,
        over_time(rate_of(m.EVENTS_PRODUCED, by="outcome", where=MINE), "{{outcome}}"),
    )


def warnings() -> logs.Panel:
    return log_lines(
        "Warnings and errors of the API",
        "Newest first. A line's trace id links to everything that was logged about the same request.",
        log_query('{service="inference", level=~"warning|error|critical"}'),
    )
