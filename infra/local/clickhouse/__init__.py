"""The local stack's ClickHouse: its engine (chDB) behind ClickHouse's own HTTP interface.

``python -m infra.local.clickhouse --data DIR --port PORT`` runs in the foreground; every client is the ordinary
``clickhouse-connect``. Where a ``clickhouse`` binary exists, it is run instead. Each request has an engine connection
of its own, so no setting can leak into another's.

Not there, and refused rather than ignored: session state (``SET``, ``USE``, temporary tables in a session), roles,
external tables, ClickHouse's own block compression (``compress=1``), and brotli bodies.
"""
