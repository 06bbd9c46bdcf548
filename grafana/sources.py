"""The data sources, by the fixed uids that `grafana/provisioning/datasources` gives them."""

from grafana_foundation_sdk.models.common import DataSourceRef

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="movierecs-prometheus")
LOKI = DataSourceRef(type_val="loki", uid="movierecs-loki")
CLICKHOUSE = DataSourceRef(type_val="grafana-clickhouse-datasource", uid="movierecs-clickhouse")
