"""Ids as typed on the command line: whole, or by their beginning; on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import settings
from cli.arguments.job_ids import resolve_ids
from cli.errors import AmbiguousIdError
from cli.main import run
from database import Database, JobRepository
from domain.errors import InvalidInputError, SeenError, UnknownJobError
from domain.job import FINISHED, JobStatus
from tasks.api.job_view import JobReader
from tests.support.build import NOW, new_job
from tests.support.stores.server import StoreServer

FIRST = "0199a2b3-c4d5-7e6f-8a9b-0c1d2e3f4a5b"
#: From the same millisecond as the first.
SECOND = "0199a2b3-c4d5-7e70-8a9b-0c1d2e3f4a5c"
LATER = "0199a2b4-0000-7000-8000-000000000000"
IDS = (FIRST, SECOND, LATER)

#: What is typed, and the id or error that it means.
TYPED: dict[str, str | type[SeenError]] = {
    FIRST: FIRST,
    FIRST.upper(): FIRST,
    FIRST.replace("-", ""): FIRST,
    FIRST[:-1]: FIRST,
    "0199a2b3-c4d5-7e6f": FIRST,
    "0199a2b3c4d57e6f": FIRST,
    "0199A2B3-C4D5-7E7": SECOND,
    "0199a2b4": LATER,
    "0199a2b4-": LATER,
    "0199a2b40": LATER,
    "0199a2b3": AmbiguousIdError,
    "0199a2b3-": AmbiguousIdError,
    "0199a2b3-c4d5-7e": AmbiguousIdError,
    "0199": AmbiguousIdError,
    "0199a2b5": UnknownJobError,
    "ffff": UnknownJobError,
    "0199a2b3-c4d5-7e6f-8a9b-0c1d2e3f4a5c0": UnknownJobError,
    FIRST + "0": UnknownJobError,
    "019": InvalidInputError,
    "0": InvalidInputError,
    "-019": InvalidInputError,
    "": UnknownJobError,
    "-": UnknownJobError,
    "--all": UnknownJobError,
    "019-9a2b4": UnknownJobError,
    "0199-a2b4": UnknownJobError,
    "0199a2b4--": UnknownJobError,
    "%": UnknownJobError,
    "0199%": UnknownJobError,
    "0199a2b_": UnknownJobError,
    "0199a2b4' OR '1'='1": UnknownJobError,
    "0199a2b4\n": UnknownJobError,
    "0199a2b4\0": UnknownJobError,
    " 0199a2b4": UnknownJobError,
    "０１９９a2b4": UnknownJobError,
    "٠١٩٩": UnknownJobError,
    "\udcff\udcfe\udcff\udcfe": UnknownJobError,
    "0199a2bİ": UnknownJobError,
    "{0199a2b4-0000-7000-8000-000000000000}": UnknownJobError,
    "0199a2g4": UnknownJobError,
    "0" * 5000: UnknownJobError,
}


@pytest.fixture
def jobs(
    database: Database,
    repo: JobRepository,
    tmp_path: Path,
    store: StoreServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[JobRepository]:
    """Three jobs, in the database that commands of this process use."""
    repo.add([new_job(id=job_id, name=f"{number}.bin") for number, job_id in enumerate(IDS)])
    # A command leaves its database to be closed at its exit; here it uses the one that is closed later.
    monkeypatch.setattr("database.Database", lambda _url: database)
    monkeypatch.setenv("SEEN_DATABASE_URL", str(database.engine.url))
    monkeypatch.setenv("SEEN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SEEN_CACHE_ADDR", store.addr)
    monkeypatch.setenv("SEEN_CACHE_PASSWORD", store.password)
    settings.load.cache_clear()
    yield repo
    settings.load.cache_clear()


def _resolved(typed: str) -> str | type[SeenError]:
    try:
        (found,) = resolve_ids([typed])
    except SeenError as error:
        return type(error)
    return found


@pytest.mark.usefixtures("jobs")
def test_every_spelling_means_one_job_or_is_refused() -> None:
    found = {typed: _resolved(typed) for typed in TYPED}
    assert found == TYPED


@pytest.mark.usefixtures("jobs")
def test_ids_are_resolved_in_order_and_each_once() -> None:
    assert resolve_ids(["0199a2b4", FIRST, FIRST[:20], "0199a2b40000"]) == [LATER, FIRST]
    with pytest.raises(AmbiguousIdError) as caught:
        resolve_ids(["0199a2b4", "0199a2b3"])
    text = str(caught.value)
    assert "'0199a2b3'" in text
    assert "0199a2b3-c4d5-7e6 (queued, 0.bin)" in text
    assert "0199a2b3-c4d5-7e7 (queued, 1.bin)" in text


def test_an_error_lists_some_of_many_candidates(jobs: JobRepository) -> None:
    jobs.add([new_job(id=f"0199a2c0-0000-7000-8000-00000000001{n}") for n in range(7)])
    with pytest.raises(
        AmbiguousIdError, match=r"0199a2c0-0000-7000-8000-000000000016 .*, and more\."
    ):
        resolve_ids(["0199a2c"])


def test_a_beginning_costs_one_statement_that_uses_the_index(
    jobs: JobRepository, database: Database
) -> None:
    jobs.add([new_job() for _ in range(300)])
    statements: list[tuple[str, Any]] = []

    def listen(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", listen)
    assert [job.id for job in JobReader(jobs, None).find_prefix("0199A2B4")] == [LATER]  # type: ignore[arg-type]
    event.remove(database.engine, "before_cursor_execute", listen)
    ((statement, parameters),) = [one for one in statements if one[0].startswith("SELECT")]
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.read() as connection:
        plan = str(connection.exec_driver_sql(explain + statement, parameters).all())
    assert "autoindex_jobs_1 (id>? AND id<?)" in plan or "pk_jobs" in plan, plan


def test_short_ids_fit_one_job_of_all_there_are(jobs: JobRepository) -> None:
    reader = JobReader(jobs, None)  # type: ignore[arg-type]
    # The second one is not listed, and still counts.
    assert reader.short_ids([FIRST, LATER]) == {FIRST: FIRST[:17], LATER: LATER[:17]}
    assert reader.short_ids([LATER]) == {LATER: LATER[:8]}
    assert reader.short_ids([]) == {}
    for job_id, short in reader.short_ids(IDS).items():
        assert resolve_ids([short]) == [job_id]


def test_an_unknown_id_is_refused_before_a_database_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN_DATA_DIR", str(tmp_path / "none"))
    settings.load.cache_clear()
    for typed in (FIRST, "0199a2b3", "%"):
        with pytest.raises(UnknownJobError):
            resolve_ids([typed])
    assert not (tmp_path / "none").exists()
    settings.load.cache_clear()


# ── commands that read ──────────────────────────────────────────────────────────────────────────


def _json(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert run(arguments) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("jobs")
def test_show_takes_several_beginnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert _json(["show", "0199a2b4", "--json"], capsys)["id"] == LATER
    several = _json(["show", "0199a2b4", FIRST[:20], "--json"], capsys)
    assert [one["id"] for one in several] == [LATER, FIRST]
    assert [len(one["events"]) for one in several] == [1, 1]
    assert [one["id"] for one in _json(["show", LATER, "0199a2b4", "--json"], capsys)] == [LATER]
    assert run(["show", "0199a2b4", FIRST]) == 0
    printed = capsys.readouterr().out
    assert printed.index(LATER) < printed.index("2.bin") < printed.index(FIRST)
    assert run(["show", LATER, "ffff"]) == 2
    assert "There is no job 'ffff'" in capsys.readouterr().err


def test_list_has_running_jobs_first_and_says_that_there_are_more(
    jobs: JobRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [
        JobStatus.COMPLETED, JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.WAITING,
        JobStatus.VERIFYING, JobStatus.DOWNLOADING, JobStatus.FAILED, JobStatus.QUEUED,
    ]  # fmt: skip
    made = []
    for number, status in enumerate(states):
        ended = {"finished_at": NOW + timedelta(seconds=number)} if status in FINISHED else {}
        made.append(new_job(status=status, name=f"job{number}", host="a.example", **ended))
    made[0] = replace(made[0], finished_at=NOW + timedelta(days=1))  # ended last
    jobs.add(made)
    order = [5, 4, 3, 7, 1, 2, 0, 6]
    listed = _json(["list", "--host", "a.example", "--json"], capsys)
    assert [one["name"] for one in listed] == [f"job{number}" for number in order]
    for status in set(states):
        (*some,) = _json(["list", "--host", "a.example", "--status", status, "--json"], capsys)
        assert [one["status"] for one in some] == [status] * states.count(status)

    for sort, sorted_order in (
        ("newest", [7, 6, 5, 4, 3, 2, 1, 0]),
        ("oldest", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("ended", [0, 6]),
    ):
        listed = _json(["list", "--host", "a.example", "--sort", sort, "--json"], capsys)
        assert [one["name"] for one in listed] == [f"job{number}" for number in sorted_order]
    listed = _json(["list", "--host", "a.example", "--sort", "speed", "--json"], capsys)
    assert {one["name"] for one in listed} == {"job4", "job5"}
    assert run(["list", "--sort", "ended", "--status", "queued"]) == 2
    assert "It orders jobs that are cancelled, completed, failed" in capsys.readouterr().err

    assert run(["list", "--host", "a.example", "-n", "3"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    assert printed.err == (
        "seen: there are more than these 3 jobs; --limit changes how many are listed.\n"
    )
    assert run(["list", "--host", "a.example", "--limit", "8"]) == 0
    assert capsys.readouterr().err == ""


def test_list_shows_short_ids_sizes_and_reasons(
    jobs: JobRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = new_job(
        status=JobStatus.FAILED, name="film.mkv", reason="HTTP 404.", bytes_total=2_500_000,
        finished_at=NOW, id="0200a2b3-c4d5-7e6f-8a9b-0c1d2e3f4a5d",
    )  # fmt: skip
    jobs.add([failed])
    assert run(["list", "--status", "failed"]) == 0
    header, row, reason = capsys.readouterr().out.splitlines()
    assert header.split() == ["id", "status", "size", "progress", "speed", "updated", "name"]
    assert row.split()[:4] == ["0200a2b3", "failed", "2.5", "MB"]
    assert row.rstrip().endswith("film.mkv")
    assert reason.strip() == "HTTP 404."
