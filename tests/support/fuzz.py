"""schemathesis against a running replica: requests made of its own OpenAPI description, right and wrong ones."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from services.contracts.rest import ADMIN_KEY_HEADER
from tests.support.inference import ADMIN_KEY
from tests.support.processes import deadline_here

CONFIGURATION = """
# An erased viewer is gone (410), whatever is asked.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "410", "5xx"]

# What the description cannot say is refused as well: a genre or a film that does not exist, a value without `rate`, a
# time ahead of the clock, a blank query.
[[operations]]
include-path-regex = "^/v1/(events|items|items/popular|users/[^/]+/recommendations)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "410", "422", "5xx"]
"""


@dataclass
class Fuzzed:
    """How it went."""

    passed: bool
    cases: int
    output: str


ERASING = ("--include-method", "DELETE")
NOT_ERASING = ("--exclude-method", "DELETE")


def fuzz(
    url: str,
    folder: Path,
    *,
    examples: int,
    only: tuple[str, str] = NOT_ERASING,
    seed: int | None = None,
    deadline_seconds: float = 50,
) -> Fuzzed:
    """Try up to ``examples`` requests per operation and phase, with every check there is.

    Viewers are erased in a run of their own, the last one: nothing can be asked about them afterwards. Without a seed
    the requests are the same ones each time.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    argv = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json",
        "--header", f"{ADMIN_KEY_HEADER}: {ADMIN_KEY}",
        "--checks", "all",
        "--max-examples", str(examples),
        *only,
        *(["--generation-deterministic"] if seed is None else ["--seed", str(seed), "--generation-database", "none"]),
        "--suppress-health-check", "all",
        "--request-timeout", "10",
        "--continue-on-failure",
        "--no-color",
    ]  # fmt: skip
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=deadline_here(deadline_seconds), check=False
    )
    output = done.stdout + done.stderr
    found = re.search(r"([\d,]+) generated", output)
    return Fuzzed(done.returncode == 0, int(found[1].replace(",", "")) if found else 0, output)
