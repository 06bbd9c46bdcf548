"""A command that notes its arguments and ends as the test planned: what the DAG runs in place of the trainer."""

import json
import os
import signal
import sys
import time
from pathlib import Path

ODD = {
    "latin-1": "café\n".encode("latin-1"),
    "megabyte": b"x" * 5_000_000 + b"\n",
    "brackets": b"[" * 100_000 + b"\n",
    "digits": b"1" * 5_000 + b"\n",
    "nul": b"\0\x1b[31m\xed\xa0\x80\n",
    "no end": b'{"version": ' + b"9" * 5_000 + b"}\n\n\r\n",
}
"""What a step may print beside its own lines."""


def main() -> int:
    step = sys.argv[1]
    log = Path(os.environ["RECORDED_ARGV"])
    with log.open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:]}) + "\n")
    if step == os.environ.get("HANGING_STEP"):
        time.sleep(600)  # longer than any test waits
    killed = json.loads(os.environ.get("KILLED_STEP", "{}")).get(step, 0)  # so many times
    if killed >= sum(json.loads(line)["argv"][0] == step for line in log.read_text().splitlines()):
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.flush()
    sys.stdout.buffer.write(ODD.get(json.loads(os.environ.get("ODD_OUTPUT", "{}")).get(step, ""), b""))
    sys.stdout.buffer.flush()
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
