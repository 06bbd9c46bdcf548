"""ALLOWED_HOSTS takes host names only; a wildcard listen address is not a name of the process."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from services.common.settings import HostSettings
from services.inference.settings import InferenceSettings
from ui.settings import HostSettings as UiHostSettings
from ui.settings import UiSettings


def test_names_are_separated_by_commas() -> None:
    assert HostSettings(allowed_hosts=" API, inference ,10.0.0.1,::1,").host_names == {
        "api",
        "inference",
        "10.0.0.1",
        "::1",
    }
    assert HostSettings().host_names == frozenset()


@pytest.mark.parametrize("value", ["*", "http://api", "api:8000", "api/v1", "a b", "*.example.org", "api;other"])
def test_whatever_is_not_a_name_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="is not a host name"):
        HostSettings(allowed_hosts=value)


@pytest.mark.parametrize(
    ("host", "names"),
    [("0.0.0.0", {"api"}), ("::", {"api"}), ("movies.lan", {"api", "movies.lan"})],  # noqa: S104
)
def test_the_listen_host_is_an_own_name_unless_it_is_a_wildcard(host: str, names: set[str]) -> None:
    settings = InferenceSettings(
        inference_host=host,
        allowed_hosts="api",
        kafka_bootstrap_servers="k:1",
        clickhouse_url=SecretStr("http://u:p@c/d"),
        postgres_dsn=SecretStr("postgresql://u:p@p/d"),
        model_dir=Path("/m"),
        admin_api_key=SecretStr("sixteen-letters-x"),
    )
    assert settings.host_names == names


def test_the_demo_refuses_the_same_values_but_its_origin_guard_starts_with_them() -> None:
    """An invalid value is told on the page, which the guard stands before."""
    given = "api, https://movies.example"
    with pytest.raises(ValidationError, match=r"'https://movies\.example' is not a host name"):
        UiSettings(inference_url="http://127.0.0.1:1", allowed_hosts=given)
    assert "api" in UiHostSettings(allowed_hosts=given).host_names
