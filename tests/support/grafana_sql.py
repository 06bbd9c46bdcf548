"""Grafana's macros in ClickHouse's SQL, as grafana-clickhouse-datasource expands them."""

import re

_MACROS = {
    r"\$__timeFilter\((\w+)\)": r"\1 >= toDateTime({begin}) AND \1 <= toDateTime({end})",
    r"\$__timeInterval\((\w+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)",
}


def expanded(sql: str, begin: str, end: str) -> str:
    """Return the query of a dashboard that shows from `begin` to `end`, both SQL of a time, by the minute."""
    for macro, meaning in _MACROS.items():
        sql = re.sub(macro, meaning, sql)
    assert "$__" not in sql, f"a macro that is not known here: {sql}"
    return sql.replace("{begin}", begin).replace("{end}", end)
