"""Removing finished jobs with the public API: rows, histories, progress, and files if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

import tasks
from domain.errors import IllegalTransitionError, UnknownJobError
from domain.ids import new_job_id
from domain.job import FINISHED, UNFINISHED, Job, JobFilter, JobStatus
from tests.support.build import NOW, new_job
from tests.support.origins.origin import Origin
from tests.support.services.running import run
from tests.support.services.system import System, client_runtime
from tests.support.stores.server import StoreServer
from worker.outcome import Outcome
from worker.storage.published_file import FileKeptError


def _store(system: System, statuses: Sequence[JobStatus], **fields: object) -> list[str]:
    made = []
    for status in statuses:
        ended = NOW if status in FINISHED else None
        made.append(new_job(status=status, finished_at=ended, **fields))
    system.runtime.jobs.add(made)
    return [job.id for job in made]


def _left(system: System) -> set[str]:
    return {job.id for job in system.runtime.jobs.find()}


def _downloaded(system: System, origin: Origin, name: str) -> tuple[Job, Path]:
    job = system.submit(origin.serve(f"/{name}", size=50_000).url)
    assert run(system, job) is Outcome.COMPLETED
    done = system.job(job)
    assert done.path is not None
    return done, Path(done.path)


def test_only_finished_jobs_are_removed_with_their_histories(any_system: System) -> None:
    finished = _store(any_system, sorted(FINISHED))
    others = _store(any_system, sorted(UNFINISHED))
    result = tasks.remove_many([*others, *finished, finished[0]], runtime=any_system.runtime)
    assert [job.id for job in result.removed] == finished
    assert [error.job_id for error in result.refused] == others
    assert all("Cancel it first." in str(error) for error in result.refused)
    assert _left(any_system) == set(others)
    assert [any_system.runtime.jobs.events(job_id) for job_id in finished] == [[]] * len(finished)
    assert all(len(any_system.runtime.jobs.events(job_id)) == 1 for job_id in others)


def test_an_unknown_id_removes_nothing(system: System) -> None:
    finished = _store(system, [JobStatus.COMPLETED])
    with pytest.raises(UnknownJobError):
        tasks.remove_many([*finished, new_job_id()], runtime=system.runtime)
    with pytest.raises(UnknownJobError):
        tasks.remove("0199", runtime=system.runtime)  # whole ids only
    assert _left(system) == set(finished)


def test_one_job_is_returned_as_it_was(system: System) -> None:
    job = system.submit("http://127.0.0.1:9/a", idempotency_key="key")
    with pytest.raises(IllegalTransitionError, match="is queued: it cannot be removed"):
        tasks.remove(job.id, runtime=system.runtime)
    tasks.cancel(job.id, runtime=system.runtime)
    assert tasks.remove(job.id, runtime=system.runtime).status is JobStatus.CANCELLED
    with pytest.raises(UnknownJobError):
        tasks.remove(job.id, runtime=system.runtime)
    again = system.submit("http://127.0.0.1:9/b", idempotency_key="key")  # its key is free again
    assert again.is_new


def test_jobs_are_removed_by_filter(system: System) -> None:
    mine = _store(system, [JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.QUEUED], user_id="ada")
    others = _store(system, [JobStatus.FAILED])
    counts: list[int] = []
    result = tasks.remove_matching(
        JobFilter(user_id="ada"), runtime=system.runtime, progress=counts.append
    )
    assert {job.id for job in result.removed} == set(mine[:2])
    assert result.refused == []
    assert counts == [2]
    assert _left(system) == {mine[2], *others}


def test_files_stay_unless_they_are_to_go(system: System, origin: Origin) -> None:
    (kept, kept_path), (gone, gone_path) = (_downloaded(system, origin, name) for name in "ab")
    assert system.runtime.cache.download.get_progress(kept.id) is not None
    assert tasks.remove_many([kept.id], runtime=system.runtime).files == []
    assert kept_path.stat().st_size == 50_000
    assert system.runtime.cache.download.get_progress(kept.id) is None
    result = tasks.remove_many([gone.id], with_files=True, runtime=system.runtime)
    assert result.files == [gone.path]
    assert not gone_path.exists()
    assert _left(system) == set()


def test_a_job_whose_file_is_another_one_now_stays(system: System, origin: Origin) -> None:
    job, path = _downloaded(system, origin, "a")
    path.write_bytes(b"mine")
    with pytest.raises(FileKeptError):
        tasks.remove(job.id, with_file=True, runtime=system.runtime)
    assert path.read_bytes() == b"mine"
    assert _left(system) == {job.id}
    path.unlink()
    tasks.remove(
        job.id, with_file=True, runtime=system.runtime
    )  # it is gone, and so may the job be
    assert _left(system) == set()


def test_the_part_file_of_a_failed_job_goes_with_it(system: System, origin: Origin) -> None:
    file = origin.serve("/a", size=400_000, truncate_after=200_000)
    job = system.submit(file.url, max_attempts=1)
    assert run(system, job) is Outcome.FAILED
    assert system.job(job).bytes_durable
    folder = system.runtime.resolve(job.directory)
    assert list(folder.iterdir())
    tasks.remove(job.id, runtime=system.runtime)
    assert list(folder.iterdir()) == []


def test_part_file_in_another_folder_goes_from_a_process_that_may_not_name_it(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    file = origin.serve("/a", size=400_000, truncate_after=200_000)
    elsewhere = tmp_path / "elsewhere"
    settings = {"SEEN_ALLOW_ANY_DIRECTORY": "true"}
    with System(tmp_path / "system", store, settings=settings) as system:
        job = system.submit(file.url, directory=str(elsewhere), max_attempts=1)
        assert run(system, job) is Outcome.FAILED
        assert list(elsewhere.iterdir())
        strict = client_runtime({**system.variables, "SEEN_ALLOW_ANY_DIRECTORY": "false"})
        with closing(strict):
            tasks.remove(job.id, runtime=strict)
    assert list(elsewhere.iterdir()) == []
