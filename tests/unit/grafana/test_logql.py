"""Every LogQL query parses, and its labels are those that the log shipper sets."""

import json
import re

import pytest

from tests.support.logql import HERE, complaints
from tests.unit.grafana.committed import targets

VARIABLES = {"__auto": "1m", "trace": "", "request": "", "search": ""}
QUERIES = [re.sub(r"\$(\w+)", lambda v: VARIABLES.get(v[1], ".+"), t.expression) for t in targets("loki")]
LABELS, METADATA = {"service", "level", "env"}, {"trace_id", "request_id"}


def test_every_query_is_logql() -> None:
    assert dict(zip(QUERIES, complaints(QUERIES), strict=True)) == {query: [] for query in QUERIES}


@pytest.mark.parametrize("broken", ['{service="api"', '{service="api"} | trace_id=~', 'rate({service="api"}[])'])
def test_the_grammar_notices_what_is_no_logql(broken: str) -> None:
    assert complaints([broken]) != [[]]


@pytest.mark.parametrize("query", QUERIES)
def test_lines_are_chosen_by_the_three_labels_and_filtered_by_ids(query: str) -> None:
    """An id as a label would be a stream of its own for every request."""
    streams = re.search(r"\{(.*?)\}", query)
    assert streams
    assert set(re.findall(r"(\w+)\s*=", streams[1])) <= LABELS
    assert set(re.findall(r"\|\s*(\w+)\s*=", query)) <= METADATA
    assert set(re.findall(r"by \((\w+)\)", query)) <= LABELS


def test_the_grammar_is_pinned_without_saying_where_it_comes_from() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    packages = [package for path, package in lock["packages"].items() if path]
    assert packages
    for package in packages:
        assert package["version"]
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package
