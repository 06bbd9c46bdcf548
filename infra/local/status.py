"""The table that `status` prints."""

from urllib.parse import urlsplit

from infra.local.stack import Stack


def status_table(stack: Stack) -> tuple[str, bool]:
    """One line per program, and whether all of them run. Addresses are shown without passwords."""
    states = stack.supervisor.states()
    rows = [("PROGRAM", "STATE", "PID", "UPTIME", "ADDRESS")]
    all_up = True
    for name, program in stack.programs.items():
        state = states.get(name)
        running = state is not None and state.is_running
        all_up = all_up and running
        address = f"{program.address}  ({program.note})" if program.note else program.address
        if state is None or not state.pid:
            rows.append((name, state.state.lower() if state else "stopped", "-", "-", address))
        else:
            rows.append((name, state.state.lower(), str(state.pid), uptime(state.uptime_seconds), address))
    rows += [(name, "external", "-", "-", without_password(url)) for name, url in stack.settings.external.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [[*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines), all_up


def uptime(seconds: int) -> str:
    """Seconds as a reader wants them.

    >>> uptime(59), uptime(3725), uptime(200_000)
    ('59s', '1h 02m', '2d 07h')
    """
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d {hours % 24:02d}h"
    if hours:
        return f"{hours}h {minutes % 60:02d}m"
    return f"{minutes}m {seconds % 60:02d}s" if minutes else f"{seconds}s"


def without_password(url: str) -> str:
    """The address with what stands before its `@` left out.

    >>> without_password("postgresql://me:secret@db:5432/movies"), without_password("broker:9092")
    ('postgresql://db:5432/movies', 'broker:9092')
    """
    parts = urlsplit(url)
    return url if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
