"""What can be chosen at the top of a dashboard. Each variable's default is everything."""

from grafana_foundation_sdk.builders.dashboard import QueryVariable, TextBoxVariable
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from grafana.sources import LOKI, PROMETHEUS
from services.contracts.metrics import MODEL_INFO

_ALL = VariableOption(text=["All"], value=["$__all"])


def replica(job: str) -> QueryVariable:
    """Choose among a service's replicas: ``instance=~"$replica"``."""
    return _labels("replica", "Replica", f'label_values(up{{job="{job}"}}, instance)')


def service() -> QueryVariable:
    """Choose among all that Prometheus scrapes: ``job=~"$service"``."""
    return _labels("service", "Service", "label_values(up, job)")


def model_version() -> QueryVariable:
    """Choose among the models that were served in the time shown: ``version=~"$version"``."""
    return _labels("version", "Model version", f"label_values({MODEL_INFO.name}, version)")


def log_service() -> QueryVariable:
    """Choose among the services that have logged."""
    return _loki_labels("service", "Service")


def log_level() -> QueryVariable:
    """Choose among the levels."""
    return _loki_labels("level", "Level")


def text(name: str, label: str, description: str) -> TextBoxVariable:
    """Take any text; empty at first."""
    return TextBoxVariable(name).label(label).description(description).default_value("")


def _labels(name: str, label: str, query: str) -> QueryVariable:
    return _choice(name, label).query(query).datasource(PROMETHEUS)


def _loki_labels(name: str, label: str) -> QueryVariable:
    query: dict[str, object] = {"label": name, "stream": "", "type": 1, "refId": "LokiVariableQueryEditor"}
    return _choice(name, label).query(query).datasource(LOKI)


def _choice(name: str, label: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).multi(True).include_all(True).all_value(".+").current(_ALL)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
