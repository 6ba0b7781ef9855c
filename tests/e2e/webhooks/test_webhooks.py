"""Real workers deliver the ends of jobs to a webhook and a program, though one is killed meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import update

from database.models import PENDING, webhook_deliveries
from tests.support.origins.origin import Origin
from tests.support.servers.webhook_receiver import Answer, Received, WebhookReceiver
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

FILES = 5


def test_each_end_is_delivered_though_a_maintenance_worker_is_killed(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    lines = tmp_path / "lines"
    lines.touch()
    program = tmp_path / "on_end"
    program.write_text(f'#!/bin/sh\necho "$SEEN_JOB_ID download.$SEEN_STATUS" >> {lines}\n')
    program.chmod(0o755)
    settings = {"SEEN_SECRET_KEY": "0123456789abcdef" * 2, "SEEN_ON_END": str(program)}
    with WebhookReceiver() as receiver, System(tmp_path, store, settings=settings) as system:
        victim, _beat = system.start_maintenance()

        def kill(_request: Received) -> Answer:
            if victim.poll() is None:
                victim.kill()
                victim.wait()
            return Answer()

        receiver.answer = kill
        system.start_worker()
        urls = [origin.serve(f"/{number}", size=1000).url for number in range(FILES)]
        jobs = [system.submit(url, webhook=receiver.url()) for url in (*urls, origin.url("/none"))]
        ends = {(job.id, "download.completed") for job in jobs[:-1]}
        ends.add((jobs[-1].id, "download.failed"))
        wait_until(lambda: victim.poll() is not None, deadline=60, what="it was killed")
        _end_claims(system)
        system.start_worker("maintenance", concurrency=2, wait=False)
        wait_until(lambda: set(receiver.events) == ends, deadline=60, what="all are delivered")
        wait_until(
            lambda: {tuple(line.split()) for line in lines.read_text().splitlines()} == ends,
            deadline=60,
            what="the program ran for all",
        )


def _end_claims(system: System) -> None:
    """Make due what the killed process has claimed, as if the time of its claims had gone by."""
    with system.runtime.database.write() as connection:
        due = update(webhook_deliveries).where(PENDING).values(next_attempt_at=datetime.now(UTC))
        connection.execute(due)
