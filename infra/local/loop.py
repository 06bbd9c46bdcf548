"""Proves the loop as a client would: ``python -m infra.local.loop``, on a stack that is running.

A new viewer gets popular films, likes three of one kind, the rows are in ClickHouse, the list is
personal; Airflow retrains, the service swaps models without a restart, and the list then comes from a model that
has seen the likes. Last, the time from a like to the changed list, over 200 likes.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import clickhouse_connect
import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from infra.local.environment import service_environment
from infra.local.settings import StackSettings
from services.client.errors import ApiError
from services.client.recommender import RecommenderClient
from services.contracts.events import Action, EventIn
from services.contracts.ids import MAX_ID, ItemId, UserId
from services.contracts.rest import Item, Recommendations, Strategy
from services.contracts.tables import EVENTS_VIEW
from services.contracts.topics import EVENTS_TOPIC

GENRE = "Horror"
LIST_SIZE = 10
DAG = "retrain_nightly"
LIKES_MEASURED = 200
LIKES_PER_VIEWER = 20
P95_LIMIT_SECONDS = 0.3
DAG_SECONDS = 900

T = TypeVar("T")


class LoopError(Exception):
    """A step did not show what it should; `log` names the program whose log tells why."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


def new_viewer() -> UserId:
    """An id that no data set uses."""
    return UserId(random.randint(10**12, MAX_ID))  # noqa: S311 – an id, not a secret


@dataclass(frozen=True)
class Addresses:
    """Where the loop's client finds the stack."""

    inference: str
    clickhouse: SecretStr
    airflow: str
    airflow_user: str
    airflow_password: SecretStr

    @classmethod
    def of(cls, settings: StackSettings) -> "Addresses":
        """The addresses of the local stack."""
        env = service_environment(settings)
        return cls(
            inference=env["INFERENCE_URL"],
            clickhouse=SecretStr(env["CLICKHOUSE_URL"]),
            airflow=env["AIRFLOW_URL"],
            airflow_user=env["AIRFLOW_ADMIN_USER"],
            airflow_password=SecretStr(env["AIRFLOW_ADMIN_PASSWORD"]),
        )


@dataclass
class Loop:
    """The steps in order; each returns what it saw, or raises `LoopError`."""

    addresses: Addresses
    viewer: UserId = field(default_factory=new_viewer)
    first_list: list[ItemId] = field(default_factory=list)
    liked: list[ItemId] = field(default_factory=list)
    request_id: UUID | None = None
    model_before: str = ""
    started_before: str = ""

    def __post_init__(self) -> None:
        self.api = RecommenderClient(self.addresses.inference, agent="movierecs-loop", timeout_seconds=30)

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """What is shown, and how."""
        return [
            ("a new viewer gets popular films", self.popular_first),
            ("likes three films of one kind", self.like_three),
            ("the rows are in ClickHouse", self.rows_stored),
            ("the list is personal and different", self.personal_list),
            ("Airflow retrains", self.retrain),
            ("the service serves the new model, not restarted", self.swapped),
            ("the list comes from a model that saw the likes", self.trained_list),
            (f"like → changed list, {LIKES_MEASURED} likes", self.like_to_list),
        ]

    def popular_first(self) -> str:
        """A viewer nobody has seen gets popular films."""
        answer = self.recommendations(self.viewer)
        if answer.strategy is not Strategy.POPULAR:
            raise LoopError(f"the strategy is {answer.strategy}, not {Strategy.POPULAR}", "inference")
        self.first_list, self.request_id = ids(answer.items), answer.request_id
        self.model_before, self.started_before = answer.model_version, self.process_start()
        return f"viewer {self.viewer}: {titles(answer.items)}"

    def like_three(self) -> str:
        """Three popular films of one genre are liked through the REST API."""
        films = self.api.items.popular(3, GENRE).items
        self.liked = ids(films)
        self.like(self.viewer, self.liked, self.request_id)
        return f"{GENRE}: {titles(films)}"

    def rows_stored(self) -> str:
        """The consumer has written them; a deadline of 10 s."""
        client = clickhouse_connect.get_client(dsn=self.addresses.clickhouse.get_secret_value())

        def stored() -> list[int] | None:
            query = f"SELECT item_id FROM {EVENTS_VIEW} WHERE user_id = {{user:Int64}} AND action = 'like'"  # noqa: S608
            rows = [row[0] for row in client.query(query, parameters={"user": self.viewer}).result_rows]
            return rows if len(rows) >= len(self.liked) else None

        rows = until(stored, 10, "the likes did not reach ClickHouse within 10 s", "consumer")
        if sorted(rows) != sorted(self.liked):
            raise LoopError(f"ClickHouse has likes of {rows}, sent were {self.liked}", "consumer")
        return f"{len(rows)} rows of `{EVENTS_TOPIC}`, each once"

    def personal_list(self) -> str:
        """The next list is folded in from the likes."""
        answer = self.recommendations(self.viewer)
        items = ids(answer.items)
        if answer.strategy is not Strategy.LIVE:
            raise LoopError(f"the strategy is {answer.strategy}, not {Strategy.LIVE}", "inference")
        if set(items) & set(self.liked) or items == self.first_list:
            raise LoopError(f"the list did not change: {items}", "inference")
        share = sum(GENRE in item.genres for item in answer.items)
        return f"{share} of {len(items)} are {GENRE}: {titles(answer.items)}"

    def retrain(self) -> str:
        """The nightly DAG is triggered through Airflow's API and succeeds."""
        airflow = self.airflow_client()
        check(airflow.patch(f"/api/v2/dags/{DAG}", json={"is_paused": False}))
        run = check(airflow.post(f"/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None}))
        url = f"/api/v2/dags/{DAG}/dagRuns/{run['dag_run_id']}"

        def ended() -> str | None:
            state: str = check(airflow.get(url))["state"]
            return state if state in {"success", "failed"} else None

        state = until(ended, DAG_SECONDS, f"the DAG run did not end within {DAG_SECONDS} s", "airflow")
        tasks = check(airflow.get(f"{url}/taskInstances"))["task_instances"]
        states = {task["task_id"]: task["state"] for task in tasks}
        bad = {name: state for name, state in states.items() if state != "success"}
        if state != "success" or bad:
            raise LoopError(f"the DAG run is {state}: {bad}", "airflow")
        return f"{DAG}: {len(states)} of {len(states)} tasks succeeded"

    def swapped(self) -> str:
        """Another version is served by the same process."""
        version = self.api.models.current().version
        if version == self.model_before:
            raise LoopError(f"still serving {version}", "inference")
        if self.process_start() != self.started_before:
            raise LoopError("the inference service was restarted in between", "inference")
        return f"{self.model_before} → {version}"

    def trained_list(self) -> str:
        """The viewer is known to the new model."""
        answer = self.recommendations(self.viewer)
        if answer.strategy is not Strategy.TRAINED or answer.model_version == self.model_before:
            raise LoopError(f"strategy {answer.strategy}, model {answer.model_version}", "inference")
        if set(ids(answer.items)) & set(self.liked):
            raise LoopError("the list shows films that the viewer has liked", "inference")
        return titles(answer.items)

    def like_to_list(self) -> str:
        """From sending a like until an answered list is personal and lacks the film."""
        times = [
            seconds
            for _ in range(LIKES_MEASURED // LIKES_PER_VIEWER)
            for viewer in (new_viewer(),)
            for seconds in (self._one_like(viewer) for _ in range(LIKES_PER_VIEWER))
        ]
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        if p95 >= P95_LIMIT_SECONDS:
            raise LoopError(f"p95 is {p95 * 1000:.0f} ms, the limit is {P95_LIMIT_SECONDS * 1000:.0f} ms", "inference")
        return f"p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, worst {max(times) * 1000:.0f} ms"

    def _one_like(self, viewer: UserId) -> float:
        shown = self.recommendations(viewer)
        film = shown.items[0].id
        begin = time.perf_counter()
        self.like(viewer, [film], shown.request_id)

        def changed() -> bool:
            answer = self.recommendations(viewer)
            return answer.strategy in {Strategy.TRAINED, Strategy.LIVE} and film not in ids(answer.items)

        until(changed, 10, f"film {film} stayed in the list of viewer {viewer}", "inference", pause=0.002)
        return time.perf_counter() - begin

    def recommendations(self, viewer: UserId) -> Recommendations:
        """The viewer's list."""
        return self.api.users.recommendations(viewer, LIST_SIZE)

    def like(self, viewer: UserId, films: list[ItemId], request_id: UUID | None) -> None:
        """Send likes; returns when the broker has acknowledged them."""
        self.api.events.send_all(
            [
                EventIn(user_id=viewer, item_id=film, action=Action.LIKE, request_id=request_id, source="loop")
                for film in films
            ]
        )

    def process_start(self) -> str:
        """When the serving process started, as it says itself."""
        lines = httpx.get(f"{self.addresses.inference}/metrics", timeout=30).text.splitlines()
        return next(line for line in lines if line.startswith("process_start_time_seconds "))

    def airflow_client(self) -> httpx.Client:
        """A client with a token."""
        url = self.addresses.airflow
        login = {
            "username": self.addresses.airflow_user,
            "password": self.addresses.airflow_password.get_secret_value(),
        }
        token = check(httpx.post(f"{url}/auth/token", json=login, timeout=30))["access_token"]
        return httpx.Client(base_url=url, timeout=30, headers={"Authorization": f"Bearer {token}"})


def ids(films: Sequence[Item]) -> list[ItemId]:
    """Their ids, in order."""
    return [film.id for film in films]


def titles(films: Sequence[Item]) -> str:
    """The first three, for a table's cell."""
    return ", ".join(film.title for film in films[:3])


def check(response: httpx.Response) -> Any:
    """Airflow's answer.

    Raises:
        LoopError: the status says it failed.
    """
    if response.is_error:
        raise LoopError(
            f"{response.request.method} {response.request.url} → {response.status_code}: {response.text}", "airflow"
        )
    return response.json()


def until(attempt: Callable[[], T | None], seconds: float, message: str, log: str, pause: float = 0.2) -> T:
    """The first true result of ``attempt``, polled until the deadline.

    Raises:
        LoopError: the deadline has passed.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := attempt():
            return result
        time.sleep(pause)
    raise LoopError(message, log)


def prove(addresses: Addresses, console: Console) -> bool:
    """Run the steps with a line each, then print the table; return whether all of them held."""
    table = Table(title="The loop", show_lines=False)
    for name, how in (("step", "left"), ("what was seen", "left"), ("seconds", "right")):
        table.add_column(name, justify="right" if how == "right" else "left", overflow="fold")
    failure: LoopError | None = None
    for name, step in Loop(addresses).steps():
        begin = time.monotonic()
        try:
            with console.status(name):
                saw = step()
        except ApiError as error:
            failure = LoopError(error.reason, "inference")
        except httpx.HTTPError as error:
            failure = LoopError(f"{type(error).__name__}: {error}", "inference")
        except LoopError as error:
            failure = error
        seconds = f"{time.monotonic() - begin:.2f}"
        if failure:
            table.add_row(f"✗ {name}", str(failure), seconds)
            break
        table.add_row(f"✓ {name}", saw, seconds)
    console.print(table)
    if failure:
        console.print(
            f"The loop is broken: {failure}\nRead the log: make logs S={failure.log}", style="red", markup=False
        )
    return failure is None


def main() -> int:
    """Prove the loop on the running stack."""
    return 0 if prove(Addresses.of(StackSettings.load()), Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
