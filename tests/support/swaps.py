"""Swapping models as fast as they load while clients ask for lists: for the test and the benchmark."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from services.common.bundle import Bundle
from tests.support.inference import Replica, crown


@dataclass
class SwapReport:
    """What happened meanwhile; ``wrong`` holds the answers that must not have been given."""

    swaps: int = 0
    seconds: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def swap_under_load(replica: Replica, bundles: list[Bundle], swaps: int, clients: int = 3) -> SwapReport:
    """Promote and reload ``bundles`` in turn, ``swaps`` times, while ``clients`` ask for the list of a viewer.

    The viewer (id 600) has liked film 12 before; a list that failed, or that shows film 12 or is not
    personal (the like got lost in a swap), is noted as wrong.
    """
    report = SwapReport()
    stop = threading.Event()
    lock = threading.Lock()
    assert replica.post({"user_id": 600, "item_id": 12, "action": "like"}).status_code == 202

    def ask() -> None:
        with httpx.Client(base_url=replica.client.base_url, timeout=30) as client:
            while not stop.is_set():
                start = time.perf_counter()
                try:
                    answer = client.get("/v1/users/600/recommendations", params={"k": 100})
                    body = answer.json() if answer.status_code == 200 else {}
                    good = body.get("strategy") == "live" and 12 not in [i["id"] for i in body["items"]]
                    problem = "" if good else answer.text[:300]
                except httpx.HTTPError as error:
                    body, problem = {}, repr(error)
                with lock:
                    report.latencies.append(time.perf_counter() - start)
                    report.versions[body.get("model_version", "none")] += 1
                    if problem:
                        report.wrong.append(problem)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    try:
        for bundle in itertools.islice(itertools.cycle(bundles), swaps):
            crown(replica.postgres, bundle.manifest)
            answer = replica.reload()
            assert answer.status_code == 200, answer.text
            assert answer.json()["version"] == bundle.manifest.version
            report.swaps += 1
    finally:
        report.seconds = time.perf_counter() - start
        stop.set()
        for thread in threads:
            thread.join(30)
    return report
