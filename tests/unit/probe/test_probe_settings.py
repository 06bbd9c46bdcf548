"""The probe's settings."""

import pytest

from services.common.settings import SettingsError
from services.probe.settings import ProbeSettings


def test_inference_url_takes_one_address_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_URL", "http://a:8000, http://b:8000/")
    assert ProbeSettings.from_environment().inference_urls == ["http://a:8000", "http://b:8000/"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INFERENCE_URL", ""),
        ("INFERENCE_URL", "a:8000"),
        ("INFERENCE_URL", "http://a:8000,"),
        ("PROBE_INTERVAL_SECONDS", "0"),
        ("PROBE_TIMEOUT_SECONDS", "-1"),
        ("PROBE_PORT", "65536"),
    ],
)
def test_the_error_names_the_invalid_setting(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_URL", "http://a:8000")
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        ProbeSettings.from_environment()
