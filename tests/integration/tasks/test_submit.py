"""Submitting: accepted and refused requests, and submitting without broker or database."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasks
from domain.errors import DatabaseUnavailableError, InvalidInputError
from domain.job import JobStatus
from domain.request import DownloadRequest
from tasks.periodic import maintenance
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.servers.postgres import PostgresServer
from tests.support.services.running import run
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

URL = "http://127.0.0.1:9/a.bin"


def test_an_accepted_job_is_stored_and_published(any_system: System) -> None:
    job = any_system.submit(URL, user_id="ada", name="b.bin", checksum="MD5:" + "A" * 32)

    row = any_system.job(job)
    assert (row.status, row.user_id, row.name) == (JobStatus.QUEUED, "ada", "b.bin")
    assert row.checksum == "md5:" + "a" * 32
    assert row.published_at is not None
    assert any_system.backlog() == 1


def test_a_message_carries_the_job_id_and_nothing_else(system: System, store: StoreServer) -> None:
    job = system.submit("http://127.0.0.1:9/secret-path?token=hidden")
    client = store.client(db=1)
    raw = client.lrange("downloads.normal", 0, -1)[0]
    assert job.id.encode() in raw
    assert b"secret-path" not in raw
    assert b"hidden" not in raw


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "gopher://host/x"}, "url"),
        ({"url": "http:///x"}, "url"),
        ({"url": "http://user:pw@host/x"}, "url"),
        ({"url": "http://host/" + "x" * 9000}, "url"),
        ({"url": "http://host:99999/x"}, "url"),
        ({"url": URL, "checksum": "sha256:abc"}, "checksum"),
        ({"url": URL, "checksum": "crc:00"}, "checksum"),
        ({"url": URL, "directory": "../outside"}, "directory"),
        ({"url": URL, "directory": "/etc"}, "directory"),
        ({"url": URL, "name": "a/b"}, "name"),
        ({"url": URL, "max_attempts": 0}, "max_attempts"),
        ({"url": URL, "user_id": ""}, "user_id"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(
    system: System, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tasks.submit(DownloadRequest.model_validate(fields), runtime=system.runtime)
    assert caught.value.field == field
    assert system.runtime.jobs.find() == []
    assert not system.downloads.exists()


def test_a_link_out_of_the_folder_is_not_followed(system: System, tmp_path: Path) -> None:
    system.downloads.mkdir()
    (system.downloads / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="directory"):
        system.submit(URL, directory="link")


@pytest.mark.parametrize("allow_any", ["false", "true"])
def test_link_that_is_made_after_the_job_was_accepted_is_not_followed(
    tmp_path: Path, store: StoreServer, origin: Origin, allow_any: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    settings = {"SEEN_ALLOW_ANY_DIRECTORY": allow_any}
    with System(tmp_path / "system", store, settings=settings) as system:
        job = system.submit(origin.serve("/late.bin", body=b"abc").url, directory="late")
        system.downloads.mkdir()
        (system.downloads / "late").symlink_to(outside)
        run(system, job)
        assert system.job(job).status is JobStatus.FAILED
    assert list(outside.iterdir()) == []


def test_several_are_accepted_all_or_none(system: System) -> None:
    good = DownloadRequest(url=URL)
    with pytest.raises(InvalidInputError):
        tasks.submit_many(
            [good, DownloadRequest(url=URL, directory="/etc")], runtime=system.runtime
        )
    assert system.runtime.jobs.find() == []
    jobs = tasks.submit_many([good, good], runtime=system.runtime)
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)


def test_without_broker_the_job_is_accepted_and_published_later(
    tmp_path: Path, private_store: StoreServer
) -> None:
    with System(tmp_path, private_store) as system:
        private_store.stop()
        job = system.submit(URL)
        assert job.published_at is None
        assert system.job(job).status is JobStatus.QUEUED

        private_store.start()
        age_jobs(system)
        assert maintenance.requeue_due(system.runtime) == 1
        assert system.job(job).published_at is not None
        assert system.backlog() == 1


def test_without_database_nothing_is_accepted_and_nothing_published(
    tmp_path: Path, store: StoreServer, postgres: PostgresServer, migrated_postgres_url: str
) -> None:
    with System(tmp_path, store, database_url=migrated_postgres_url) as system:
        postgres.stop()
        with pytest.raises(DatabaseUnavailableError):
            system.submit(URL)
        assert system.backlog() == 0
        postgres.start()
        assert system.submit(URL).published_at is not None


@pytest.mark.parametrize("directory", ["film.mkv", "film.mkv/below"])
def test_folder_that_is_a_file_is_refused(system: System, directory: str) -> None:
    system.runtime.files_dir.mkdir()
    (system.runtime.files_dir / "film.mkv").write_text("")
    with pytest.raises(InvalidInputError, match=r"film\.mkv is a file; name a folder"):
        system.submit("http://example.com/a", directory=directory)
    assert system.runtime.jobs.find() == []
