"""Run the local ClickHouse in the foreground: ``python -m infra.local.clickhouse --data DIR --port PORT``.

CLICKHOUSE_PASSWORD must hold the password of the user `movierecs`, CLICKHOUSE_READER_PASSWORD that of `reader`.

Exit status: 0 after SIGTERM or SIGINT (running queries finish, within ten seconds in all), 1 when it cannot start,
2 without passwords.
"""

import argparse
import fcntl
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import IO

from infra.local.clickhouse import binary, browsers
from infra.local.clickhouse.access import OWNER, READER
from infra.local.clickhouse.fence import enclose, interpreter_paths
from infra.local.clickhouse.protocol import Account

ROOT = Path(__file__).resolve().parents[3]
log = logging.getLogger("clickhouse")

HTTP_GRACE_SECONDS = 6
QUERY_GRACE_SECONDS = 1.5
_PASSWORD, _READER_PASSWORD = "CLICKHOUSE_PASSWORD", "CLICKHOUSE_READER_PASSWORD"
_KEEP_ALIVE_SECONDS = 30
_MAX_HEAD_BYTES = 2 << 20  # an insert's statement may stand in the URL


def main(argv: list[str] | None = None) -> int:
    """Parse, check what must be free, and serve until told to stop."""
    options = _options(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s clickhouse: %(message)s", stream=sys.stdout
    )
    passwords = [os.environ.pop(name, "") for name in (_PASSWORD, _READER_PASSWORD)]
    if not all(passwords):
        print(f"clickhouse: {_PASSWORD} and {_READER_PASSWORD} must be set; no password has a default", file=sys.stderr)
        return 2
    accounts = [Account(options.user, passwords[0], OWNER), Account(READER, passwords[1], READER)]
    max_memory = options.max_memory << 20
    try:
        lock = _lock(options.data)
        listener = _listen(options.host, options.port)
    except OSError as error:
        print(f"clickhouse: cannot start: {error.strerror or error}", file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    program = binary.find(os.environ)
    if program is not None:
        log.info("running %s with its own data directory under %s", program, options.data)
        listener.close()
        os.set_inheritable(lock.fileno(), True)
        config = binary.write_config(options.data / "server", host, port, accounts, max_memory)
        binary.replace_process(program, config)
    try:
        return _serve(options.data, listener, accounts, max_memory)
    finally:
        lock.close()


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.clickhouse", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the data, this process's alone")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one; the first log line names it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--user", default=OWNER, help="who may write; %(default)s if not given")
    parser.add_argument("--max-memory", type=int, default=2048, metavar="MIB", help="for all queries together")
    return parser.parse_args(argv)


def _lock(data: Path) -> IO[str]:
    data.mkdir(parents=True, exist_ok=True)
    lock = (data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise OSError(f"the data directory {data} is in use by another process") from error
    return lock


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), backlog=256)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # Accepted sockets inherit it; asyncio would set it itself only on sockets made with an explicit protocol number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _serve(data: Path, listener: socket.socket, accounts: list[Account], max_memory: int) -> int:
    # Like the server's image. The engine reads this when it is loaded; its own <timezone> does nothing.
    os.environ["TZ"] = "UTC"
    data = data.resolve()
    spool = data / "spool"
    spool.mkdir(exist_ok=True)
    # Both inside the fence: the engine keeps temporary files there.
    os.environ["TMPDIR"] = str(spool)
    os.chdir(spool)
    reason = enclose(data, interpreter_paths(ROOT))
    if reason:
        log.warning("%s: the function file() can read what this user can, for those who know a password", reason)
    # Imported here: a taken port is told at once, and a real server is started without loading the engine.
    import uvicorn  # noqa: PLC0415

    from infra.local.clickhouse.app import ClickHouseHttp  # noqa: PLC0415
    from infra.local.clickhouse.engine import Engine  # noqa: PLC0415

    engine = Engine(data / "engine", max_memory=max_memory)
    names = browsers.OWN_NAMES | {listener.getsockname()[0]}
    app = ClickHouseHttp(engine, accounts, spool, names)
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_config=None,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=HTTP_GRACE_SECONDS,
        server_header=False,
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # the front logs its own errors, once
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal that stopped it once more when it has stopped; the engine must still be closed then.
        signal.signal(number, lambda *_: None)
    log.info("ClickHouse %s is listening on %s:%d", engine.version, *listener.getsockname()[:2])
    uvicorn.Server(config).run(sockets=[listener])
    stopped = engine.close(grace_seconds=QUERY_GRACE_SECONDS)
    log.info("stopped%s", "" if stopped else "; a query would not end and was abandoned")
    if not stopped:
        logging.shutdown()
        os._exit(0)  # its thread would keep the interpreter waiting
    return 0


if __name__ == "__main__":
    sys.exit(main())
