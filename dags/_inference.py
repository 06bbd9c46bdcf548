"""The two steps that talk to the inference service: reload every replica, then see what each one serves."""

import logging
import os
import socket
import time
from contextlib import suppress

import httpx
from airflow.sdk.exceptions import AirflowException, AirflowFailException

INFERENCE_URL = "INFERENCE_URL"
"""Environment variable: base addresses of the replicas, comma-separated; a host may be the name of several."""
ADMIN_API_KEY = "ADMIN_API_KEY"
RELOAD_SECONDS = 120
"""A reload answers when the new model serves: hashing and mapping the arrays takes its time."""
VERIFY_SECONDS = 60

log = logging.getLogger(__name__)


def reload_replicas() -> dict[str, str]:
    """Ask each replica to load the champion, and return the version that each one answered.

    Promotion has notified them already; this waits for the outcome and brings errors to light. All
    are asked even when one fails.
    """
    key = os.environ.get(ADMIN_API_KEY)
    if not key:
        raise AirflowFailException(f"{ADMIN_API_KEY} is not set")
    versions, errors = {}, []
    for url in _replicas():
        try:
            answer = httpx.post(f"{url}/v1/models/reload", headers={"X-Admin-Key": key}, timeout=RELOAD_SECONDS)
            versions[url] = _version(answer)
            log.info("%s serves %s", url, versions[url])
        except (httpx.HTTPError, AirflowException) as error:
            errors.append(f"{url}: {error}")
    if errors:
        raise AirflowException("reload failed: " + "; ".join(errors))
    return versions


def verify_replicas(version: str | None) -> None:
    """Return once every replica serves ``version``, asked each second for at most a minute.

    Raises:
        AirflowException: a replica serves another version, or does not answer, when the time is over.
    """
    if not version:
        raise AirflowFailException("the promote step named no version")
    deadline = time.monotonic() + VERIFY_SECONDS
    wrong = dict.fromkeys(_replicas(), "not asked yet")
    while True:
        wrong = {url: served for url in wrong if (served := _served(url)) != version}
        if not wrong:
            log.info("every replica serves %s", version)
            return
        if time.monotonic() >= deadline:
            raise AirflowException(f"promoted {version}, but: {wrong}")
        time.sleep(1)


def _replicas() -> list[str]:
    urls = [url.strip().rstrip("/") for url in os.environ.get(INFERENCE_URL, "").split(",") if url.strip()]
    if not urls:
        raise AirflowFailException(f"{INFERENCE_URL} is not set")
    return [replica for url in urls for replica in _each_address(url)]


def _each_address(url: str) -> list[str]:
    """One URL per address of the host, as Docker's DNS gives one for each replica; ``url`` itself if it has only one.

    An https URL stays whole, its certificate is for the name; so does a name that is not found: asking it says why.
    """
    parts = httpx.URL(url)
    addresses: set[str] = set()
    if parts.scheme == "http":
        with suppress(OSError):
            found = socket.getaddrinfo(parts.host, parts.port or 80, socket.AF_INET, socket.SOCK_STREAM)
            addresses = {str(address[4][0]) for address in found}
    return [str(parts.copy_with(host=host)).rstrip("/") for host in sorted(addresses)] if len(addresses) > 1 else [url]


def _served(url: str) -> str:
    try:
        return _version(httpx.get(f"{url}/v1/models/current", timeout=10))
    except (httpx.HTTPError, AirflowException) as error:
        return f"no answer ({error})"


def _version(answer: httpx.Response) -> str:
    if answer.is_error:
        raise AirflowException(f"{answer.status_code} {answer.text[:500]}")
    try:
        return str(answer.json()["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise AirflowException(f"not the inference service's answer: {answer.text[:200]}") from error
