"""A command that notes its arguments and ends as the test planned: what the DAG runs in place of the trainer."""

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    step = sys.argv[1]
    log = Path(os.environ["RECORDED_ARGV"])
    with log.open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:]}) + "\n")
    if step == os.environ.get("HANGING_STEP"):
        time.sleep(600)  # longer than any test waits
    print(json.dumps({"level": "info", "event": f"{step} is done"}))
    if step == "promote":
        print(json.dumps({"level": "info", "event": "promoted", "version": os.environ["PROMOTED_VERSION"]}))
        print("a last line that is not JSON")
    # {"step": [status of the 1st call, of the 2nd, …]}; 0 when the list is over
    planned = json.loads(os.environ.get("PLANNED_STATUS", "{}")).get(step, [])
    calls = sum(json.loads(line)["argv"][0] == step for line in log.read_text().splitlines())
    return int(planned[calls - 1]) if calls <= len(planned) else 0


if __name__ == "__main__":
    sys.exit(main())
