"""Queues and tasks of the release before are served beside the new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.operations import consume_message
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker.queues import QUEUES, REQUEUED_QUEUES
from worker.broker.task_messages import FORMER_REQUEUE_DUE_TASK, REQUEUE_DUE_TASK


@pytest.mark.parametrize("listed", REQUEUED_QUEUES)
def test_worker_that_lists_one_queue_of_requeued_jobs_serves_both(
    store: StoreServer,
    origin: Origin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listed: str,
) -> None:
    monkeypatch.setitem(QUEUES, "downloads", (listed,))
    with System(tmp_path, store) as system, system.store.client(db=1) as client:
        jobs = [system.submit(origin.serve(f"/{n}.bin", size=1000).url) for n in range(2)]
        client.delete("downloads.normal")
        assert system.runtime.publisher.publish(jobs, requeued=True)
        client.lmove(*REQUEUED_QUEUES, "RIGHT", "LEFT")
        assert [client.llen(queue) for queue in REQUEUED_QUEUES] == [1, 1]
        assert system.runtime.broker.requeued() == {job.id for job in jobs}
        assert system.runtime.broker.backlogs()["requeued"] == 2

        system.start_worker()

        for job in jobs:
            system.wait_for(job, JobStatus.COMPLETED)


@pytest.mark.parametrize("name", [REQUEUE_DUE_TASK, FORMER_REQUEUE_DUE_TASK])
def test_requeue_due_runs_under_both_names(store: StoreServer, tmp_path: Path, name: str) -> None:
    with System(tmp_path, store) as system:
        system.start_worker("maintenance", concurrency=1)
        job = system.submit("http://127.0.0.1:9/never.bin")
        store.client(db=1).delete("downloads.normal")
        consume_message(system.runtime.jobs, job.id)

        def is_published() -> bool:
            system.app.send_task(name, ignore_result=True)
            return system.job(job).published_at is not None

        wait_until(is_published, deadline=30, interval=0.5)  # not before `PUBLISHING_GRACE`
