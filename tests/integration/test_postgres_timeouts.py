"""Who waits how long for PostgreSQL: requests for seconds, the trainer's work as long as it takes."""

import threading
import time

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from pydantic import SecretStr

from services.common import postgres
from tests.support.services import PostgresServer


def test_a_requests_connection_ends_after_its_seconds_and_the_pool_goes_on(postgres_database: str) -> None:
    with postgres.pool(SecretStr(postgres_database)) as pool:
        start = time.monotonic()
        with pytest.raises(psycopg.OperationalError), pool.connection(seconds=0.3) as connection:
            connection.execute("SELECT pg_sleep(30)")
        assert time.monotonic() - start < 3
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)
            assert connection.execute("SHOW lock_timeout").fetchone() == ("3s",)


def test_the_trainers_statements_are_not_cut(postgres_database: str) -> None:
    with postgres.connect(SecretStr(postgres_database)) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_an_error_of_the_users_own_is_not_taken_for_postgresql_being_away(postgres_database: str) -> None:
    with postgres.pool(SecretStr(postgres_database)) as pool:
        for _ in range(3):
            with pytest.raises(psycopg.errors.UndefinedTable), pool.connection() as connection:
                connection.execute("SELECT FROM nowhere")
            with pytest.raises(psycopg.errors.QueryCanceled), pool.connection() as connection:
                connection.execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(1)")


def test_while_postgresql_is_frozen_one_waits_and_all_others_fail_at_once(own_postgres: PostgresServer) -> None:
    seconds: list[float] = []

    def use() -> None:
        start = time.monotonic()
        try:
            with pool.connection(seconds=1) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            seconds.append(time.monotonic() - start)

    with postgres.pool(SecretStr(own_postgres.dsn())) as pool:
        with pool.connection() as connection:
            connection.execute("SELECT 1")
        own_postgres.freeze()
        try:
            use()
            assert seconds.pop() < 8
            users = [threading.Thread(target=use) for _ in range(30)]
            for user in users:
                user.start()
            for user in users:
                user.join()
            assert len(seconds) == 30
            assert sum(taken < 1 for taken in seconds) >= 28
        finally:
            own_postgres.thaw()
        deadline = time.monotonic() + 8
        while True:
            try:
                with pool.connection() as connection:
                    assert connection.execute("SELECT 1").fetchone() == (1,)
                break
            except PoolTimeout:
                assert time.monotonic() < deadline
                time.sleep(0.1)
