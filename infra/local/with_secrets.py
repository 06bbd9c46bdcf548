"""Become a program with its secrets in the environment: `python with_secrets.py FILE PROGRAM ARGUMENT…`.

FILE, which its owner alone may read, holds them as a JSON object. So each program has its own and no other's, and
they stand neither in supervisord's environment, which every program inherits, nor on a command line.
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    file, *argv = sys.argv[1:]
    os.environ.update(json.loads(Path(file).read_text()))
    os.execv(argv[0], argv)  # noqa: S606 - no shell is the point
