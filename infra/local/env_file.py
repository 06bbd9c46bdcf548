"""The `.env` file: made from `.env.example` with random secrets, so that nobody runs on a known password.

`make env` runs this on any Python from 3.9, without our virtual environment: Docker Compose needs the file, not that.
"""

import base64
import os
import re
import secrets
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = re.compile(r"GENERATED(?::(?P<bytes>\d+))?")
"""A value to be replaced by a secret; `GENERATED:32` says how many random bytes, where a program wants so many."""
BYTES = 18


def ensure_env_file(env_file: Path, example: Path) -> list[str]:
    """Make `env_file` (mode 600) from `example`, or add the secrets that it lacks; never changes a value that is there.

    Returns the names of the secrets that were generated.
    """
    placeholders = {n: v for n, v in _values(example).items() if PLACEHOLDER.fullmatch(v)}
    if not env_file.exists():
        _write(env_file, with_secrets(example.read_text()))
        return list(placeholders)
    present = _values(env_file)
    missing = [n for n, placeholder in placeholders.items() if present.get(n) in (None, "", placeholder)]
    if missing:
        kept = [line for line in env_file.read_text().splitlines() if line.partition("=")[0].strip() not in missing]
        _write(env_file, with_secrets("\n".join([*kept, *(f"{name}={placeholders[name]}" for name in missing), ""])))
    return missing


def with_secrets(text: str) -> str:
    """`text` of an env file with a random secret, URL-safe base64, in place of each `NAME=GENERATED`."""
    lines = []
    for line in text.splitlines():
        name, _, value = line.partition("=")
        match = None if name.startswith("#") else PLACEHOLDER.fullmatch(value.strip())
        lines.append(f"{name}={_secret(int(match['bytes'] or BYTES))}" if match else line)
    return "\n".join(lines) + "\n"


def generated_names(example: Path) -> frozenset[str]:
    """The names whose values `example` has generated."""
    return frozenset(name for name, value in _values(example).items() if PLACEHOLDER.fullmatch(value))


def _values(env_file: Path) -> dict[str, str]:
    """What the file sets; enough of its syntax to tell a value from none."""
    values = {}
    for line in env_file.read_text().splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("'\"")
    return values


def _secret(length: int) -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(length)).decode()


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(scratch, path)


def main() -> None:
    """`make env`: make `.env`, or add what it lacks, and say what was generated."""
    generated = ensure_env_file(ROOT / ".env", ROOT / ".env.example")
    print(f"generated in .env: {', '.join(generated)}" if generated else ".env has every secret already")


if __name__ == "__main__":
    main()
