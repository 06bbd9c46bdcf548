"""The `.env` file: made from `.env.example` with random secrets, so that nobody runs on a known password."""

import os
import secrets
from pathlib import Path

from dotenv import dotenv_values

PLACEHOLDER = "GENERATED"


def ensure_env_file(env_file: Path, example: Path) -> list[str]:
    """Make `env_file` (mode 600) from `example`, or add the secrets that it lacks; never changes a value that is there.

    Returns the names of the secrets that were generated.
    """
    wanted = [name for name, value in dotenv_values(example).items() if value == PLACEHOLDER]
    if not env_file.exists():
        _write(env_file, with_secrets(example.read_text()))
        return wanted
    present = dotenv_values(env_file)
    missing = [name for name in wanted if present.get(name) in (None, "", PLACEHOLDER)]
    if missing:
        kept = [line for line in env_file.read_text().splitlines() if line.partition("=")[0].strip() not in missing]
        _write(env_file, with_secrets("\n".join([*kept, *(f"{name}={PLACEHOLDER}" for name in missing), ""])))
    return missing


def with_secrets(text: str) -> str:
    """`text` of an env file with a random, URL-safe secret of 144 bits in place of each `NAME=GENERATED`."""
    lines = []
    for line in text.splitlines():
        name, _, value = line.partition("=")
        fresh = value.strip() == PLACEHOLDER and not name.startswith("#")
        lines.append(f"{name}={secrets.token_urlsafe(18)}" if fresh else line)
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(scratch, path)
