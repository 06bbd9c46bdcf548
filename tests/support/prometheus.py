"""A client of a running Prometheus, as a test asks it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

Labels = Mapping[str, str]


class QueryError(AssertionError):
    """Prometheus refused an expression."""


@dataclass(frozen=True)
class Prometheus:
    """`url` without a path."""

    url: str

    def latest(self, expression: str, seconds: float = 60, step: float = 5) -> dict[str, float]:
        """Return each series' last number of the past `seconds`; what is not a number does not count.

        Raises:
            QueryError: the expression is refused.
        """
        end = time.time()
        data = self._get("query_range", query=expression, start=end - seconds, end=end, step=step)
        found = {}
        for series in data["result"]:
            numbers = [float(value) for _, value in series["values"] if math.isfinite(float(value))]
            if numbers:
                found[str(dict(sorted(series["metric"].items())))] = numbers[-1]
        return found

    def targets(self) -> dict[str, str]:
        """Return the health of every target, by job and instance: up, down or unknown."""
        active = self._get("targets", state="active")["activeTargets"]
        return {f"{t['labels']['job']} {t['labels']['instance']}": t["health"] for t in active}

    def families(self) -> set[str]:
        """Return the name of every metric family that some target declares, also those without a series yet."""
        return set(self._get("metadata"))

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its last evaluation."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: Any) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise QueryError(answer["error"])
        return answer["data"]
