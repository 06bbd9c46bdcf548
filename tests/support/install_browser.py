"""Installs Debian's Chromium for the browser tests when that is possible: ``python -m tests.support.install_browser``.

Says what to install by hand otherwise; the browser tests then skip.
"""

import os
import shutil
import subprocess
import sys

PACKAGES = ("chromium",)
INSTALL = "apt-get install --no-install-recommends " + " ".join(PACKAGES)


def main() -> int:
    """Install, or say how to; fails only when an install that should work does not."""
    if shutil.which("chromium"):
        return 0
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"browser tests will be skipped: there is no chromium; install it with: {INSTALL}")
        return 0
    print("installing Chromium for the browser tests")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], [*INSTALL.split(), "-y", "-qq"]):
        status = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
        if status:
            print(f"`{' '.join(command)}` exited with {status}", file=sys.stderr)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
