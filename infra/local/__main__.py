"""`python -m infra.local up | down | clean | status | logs NAME | env`: the local stack, without Docker."""

import argparse
import os
import shlex
import sys
import time

from pydantic import ValidationError

from infra.local.env_file import ensure_env_file
from infra.local.environment import service_environment
from infra.local.settings import ROOT, StackSettings
from infra.local.stack import Stack, StackError
from infra.local.status import status_table


def main() -> int:
    """Parse, call, and say in one message what went wrong."""
    args = _parser().parse_args()
    generated = ensure_env_file(ROOT / ".env", ROOT / ".env.example")
    if generated:
        print(f"stack: generated {', '.join(generated)} in .env", file=sys.stderr, flush=True)
    try:
        stack = Stack(StackSettings.load(), os.environ)
        return _run(args, stack)
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]).upper() or "settings"
            print(f"stack: {where}: {problem['msg']} (see .env)", file=sys.stderr)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
    return 1


def _run(args: argparse.Namespace, stack: Stack) -> int:
    start = time.monotonic()
    match args.command:
        case "up":
            only = [name for name in args.only.split(",") if name]
            stack.up(only, args.timeout)
            print(f"stack: up in {time.monotonic() - start:.1f} s")
        case "down":
            killed = stack.down()
            for process in killed:
                print(f"stack: {process} did not end by itself and was killed", file=sys.stderr)
            print(f"stack: down in {time.monotonic() - start:.1f} s, no process is left")
        case "clean":
            kept = stack.clean()
            for name in kept:
                print(f"stack: {stack.state / name} is none of the stack's and stays", file=sys.stderr)
        case "status":
            text, all_up = status_table(stack)
            print(text)
            return 0 if all_up else 1
        case "logs":
            if args.name not in stack.programs:
                raise StackError(f"no such program: {args.name}; there are {', '.join(stack.programs)}")
            follow = [] if args.no_follow else ["-F"]
            os.execvp("tail", ["tail", f"-n{args.lines}", *follow, str(stack.log_file(args.name))])  # noqa: S606
        case "env":
            print("stack: these lines hold every secret of the stack", file=sys.stderr, flush=True)
            for name, value in sorted(service_environment(stack.settings).items()):
                print(f"export {name}={shlex.quote(value)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what does not run yet and wait until everything answers")
    up.add_argument("--only", default="", metavar="NAME,…", help="these programs instead of all")
    up.add_argument("--timeout", type=float, default=240, metavar="SECONDS", help="default: %(default).0f")
    commands.add_parser("down", help="stop everything; data stay in the state folder")
    commands.add_parser("clean", help="stop everything and delete the state folder, and what is not ours never")
    commands.add_parser("status", help="a table of the programs; exits 1 unless all of them run")
    logs = commands.add_parser("logs", help="show and follow the log of one program")
    logs.add_argument("name")
    logs.add_argument("-n", "--lines", type=int, default=100)
    logs.add_argument("--no-follow", action="store_true")
    commands.add_parser("env", help="print the services' environment for `eval`; holds secrets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
