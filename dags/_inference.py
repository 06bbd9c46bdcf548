"""The verify step: does every inference replica serve the promoted model?"""

import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress

import httpx
from airflow.sdk.exceptions import AirflowException, AirflowFailException

INFERENCE_URL = "INFERENCE_URL"
"""Environment variable: base addresses of the replicas, comma-separated; a host may be the name of several."""
VERIFY_SECONDS = 180
"""Promotion notifies the replicas; hashing and mapping the arrays takes its time."""
MAX_ANSWER_BYTES = 100_000

log = logging.getLogger(__name__)


def verify_replicas(version: str | None) -> None:
    """Return once every replica serves ``version``, each asked every second, for at most three minutes.

    A replica that does not answer, or answers nonsense, does not delay the others.

    Raises:
        AirflowException: a replica serves another version, or does not answer, when the time is over.
    """
    if not version:
        raise AirflowFailException("the promote step named no version")
    deadline = time.monotonic() + VERIFY_SECONDS
    served = dict.fromkeys(_replicas(), "no answer yet")
    # Daemon threads: one that hangs in an endless answer is abandoned.
    watchers = [
        threading.Thread(target=_watch, args=(url, version, deadline, served), daemon=True) for url in tuple(served)
    ]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join(max(0.0, deadline - time.monotonic()))
    wrong = {url: answer for url, answer in served.items() if answer != version}
    if wrong:
        raise AirflowException(f"promoted {version}, but: {wrong}")
    log.info("every replica serves %s", version)


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


def _watch(url: str, version: str, deadline: float, served: dict[str, str]) -> None:
    """Poll until the replica serves the version or the time is over; ``served`` has its last answer."""
    while time.monotonic() < deadline:
        try:
            served[url] = _version(url)
        except Exception as error:  # any failure is the replica's answer
            served[url] = f"no answer ({str(error)[:500] or type(error).__name__})"
        if served[url] == version:
            return
        time.sleep(1)


def _version(url: str) -> str:
    body = b""
    with httpx.stream("GET", f"{url}/v1/models/current", timeout=10) as answer:
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise AirflowException(f"{answer.status_code}, and more than {MAX_ANSWER_BYTES} bytes")
    text = body.decode(errors="replace")
    if not answer.is_success:
        raise AirflowException(f"{answer.status_code} {text[:500]}")
    try:
        return str(json.loads(text)["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AirflowException(f"not the inference service's answer: {text[:200]}") from error
