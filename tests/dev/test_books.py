"""The ledger as the supervisor has it: made ready by a process that ends, read by a connection."""

from pathlib import Path

import pytest

from schedules_pipeline.dev import preparing
from schedules_pipeline.dev.books import LedgerBooks
from schedules_pipeline.dev.databases import server_time
from schedules_pipeline.dev.home import Home
from schedules_pipeline.errors import StartupError
from schedules_pipeline.settings import Settings, with_driver
from schedules_pipeline.store.unit_of_work import PostgresStore
from tests.ledger import query

DEMO = {"demo-async": "http://127.0.0.1:9", "demo-sync": "http://127.0.0.1:10"}


def books_on(url: str, tmp_path: Path) -> LedgerBooks:
    home = Home.make(tmp_path / "home")
    return LedgerBooks(Settings(home=home.path, database_url=url))


def test_an_empty_database_is_made_ready_with_the_demo_in_it_and_again_at_the_next_start(
    empty_database_url: str, tmp_path: Path
) -> None:
    books = books_on(empty_database_url, tmp_path)

    for _ in range(2):
        books.prepare(DEMO)

    store = PostgresStore(with_driver(empty_database_url, "psycopg"), pool_size=1)
    agents = query(store, "select name from agents order by name")
    store.close()
    assert [row.name for row in agents] == sorted(DEMO)
    assert books.landed_fires(server_time(empty_database_url)) == []
    books.close()


def test_what_keeps_the_databases_from_being_ready_is_told(tmp_path: Path) -> None:
    books = books_on("postgresql://nobody@127.0.0.1:9/none", tmp_path)

    with pytest.raises(StartupError, match=r"^The database cannot be reached: "):
        books.prepare({})


def test_a_preparation_that_was_cut_off_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = books_on("postgresql:///none", tmp_path)
    # Stands in for a process that is killed: it says nothing.
    monkeypatch.setattr("sys.executable", "/bin/true")

    with pytest.raises(StartupError, match=r"preparation was cut off; see .*databases\.log"):
        books.prepare({})


def test_the_preparing_process_says_why_it_failed_where_no_database_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SCHEDULES_DATABASE_URL", raising=False)
    monkeypatch.setattr("sys.argv", ["preparing.py", "{}"])

    preparing.main()

    assert capsys.readouterr().out.startswith("SCHEDULES_DATABASE_URL is not set.")
