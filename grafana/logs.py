"""Dashboard 7: all log lines; by service and level, and everything of one request or trace."""

from grafana_foundation_sdk.builders import logs, timeseries
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import compose, line, section
from grafana.panels import LOGS_UID, chart, log_lines
from grafana.queries import log_query, log_rate
from grafana.sources import LOKI
from grafana.variables import log_level, log_service, text

STREAMS = '{service=~"$service", level=~"$level"}'
OF_THE_TRACE = '| trace_id=~"$trace.*" | request_id=~"$request.*"'
"""Both are structured metadata; an empty choice takes every line, also those without an id."""
WITH_THE_TEXT = "|~ `(?i)$search`"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        LOGS_UID,
        "7 Logs",
        "All log lines, by service, level, text, request or trace.",
        section("How much is logged?", line(by_service(), by_level(), height=6)),
        section("What is logged?", line(lines(), height=24)),
        section("What goes wrong?", line(errors(), height=12)),
        variables=(
            log_service(),
            log_level(),
            text("trace", "Trace id", "One like, from the page through the API to the consumer."),
            text("request", "Request id", "As the API's X-Request-ID header says it."),
            text("search", "Text", "A regular expression, in any case."),
        ),
    )


def by_service() -> timeseries.Panel:
    return chart(
        "Which service logs how much?",
        "Lines per second. A service that falls silent has stopped, or its lines are not shipped.",
        units.CountsPerSecond,
        log_rate(f"sum by (service) (rate({STREAMS}[$__auto]))", "{{service}}"),
        source=LOKI,
        stacked=True,
    )


def by_level() -> timeseries.Panel:
    return chart(
        "How serious is it?",
        "Lines per second, by level.",
        units.CountsPerSecond,
        log_rate(f"sum by (level) (rate({STREAMS}[$__auto]))", "{{level}}"),
        source=LOKI,
        stacked=True,
    )


def lines() -> logs.Panel:
    return log_lines(
        "What was logged?",
        "Newest first, with everything that is chosen above. A click on a line shows its fields; its trace id links to "
        "all lines of the trace.",
        log_query(f"{STREAMS} {WITH_THE_TEXT} {OF_THE_TRACE}"),
    )


def errors() -> logs.Panel:
    return log_lines(
        "Errors, of the chosen services",
        "Newest first, whatever else is chosen.",
        log_query('{service=~"$service", level=~"error|critical"}'),
    )
