"""`python -m infra.local.postgres --data DIR --port P`: one PostgreSQL server in the foreground.

The role and the database are `movierecs`; POSTGRES_PASSWORD must hold the role's password. The services' own roles
have passwords that follow from it (`role_passwords.py`).
"""

import argparse
import os
import sys
from pathlib import Path

from infra.local.postgres.cluster import BIN, AlreadyRunningError, Cluster, ClusterError
from infra.local.postgres.system_user import UnreachableFolderError, choose


def main() -> int:
    """Make the cluster when needed, then become the server; 1 with one clear line when that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.postgres", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the cluster's own folder; made when missing")
    parser.add_argument("--port", type=int, required=True, help="listens on 127.0.0.1 only")
    args = parser.parse_args()
    password = os.environ.pop("POSTGRES_PASSWORD", "")
    if not password:
        print("postgres: POSTGRES_PASSWORD is not set; there is no default password", file=sys.stderr)
        return 2
    data = args.data.resolve()
    try:
        cluster = Cluster(data, choose([data, BIN / "postgres"]))
        cluster.create_if_missing()
        cluster.clear_leftovers()
        cluster.set_passwords(password)
    except (UnreachableFolderError, AlreadyRunningError, ClusterError) as error:
        print(f"postgres: {error}", file=sys.stderr)
        return 1
    cluster.exec_server(args.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
