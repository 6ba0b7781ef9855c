"""The whole service with the least rights that the document grants, and without INFO."""

from __future__ import annotations

import subprocess
from pathlib import Path

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.preloaded import run_module
from tests.support.services.system import ROOT, System
from tests.support.stores.least_rights import PASSWORD, USER_NAME, grant_least_rights
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus

#: Every periodic task comes to run within the test, and so does everything that counts slots.
EVERYTHING = {
    "SEEN_CLEANUP_INTERVAL": "1",
    "SEEN_STATS_INTERVAL": "1",
    "SEEN_HOST_DOWNLOADS": "4",
    "SEEN_USER_DOWNLOADS": "4",
}
#: Commands that print figures of the server.
NEEDS_INFO = ["cache", "stats"]
COMMANDS = (
    ["list"],
    ["limit", "--total", "10M"],
    ["cache", "forget-user", "ada"],
    ["cache", "forget-title", "title"],
    ["cache", "forget-keys", "seen:x*"],
    ["beat", "--check"],
)


def seen(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_module("cli", arguments, environment=system.environment, folder=ROOT, timeout=60)


def run_a_whole_job(system: System, origin: Origin) -> None:
    worker = system.start_worker()
    maintenance = system.start_worker("maintenance", concurrency=2, wait=False)
    beat = system.start_beat(level="DEBUG")
    file = origin.serve("/file.bin", size=400_000, bytes_per_second=200_000)

    job = system.submit(file.url, user_id="ada")

    assert system.wait_for(job, S.COMPLETED).sha256 == file.sha256
    sent = "Sending due task broker.sweep"
    wait_until(lambda: system.logs().count(sent) >= 3, deadline=30, what="periodic tasks")
    system.runtime.broker.sweep()
    for command in COMMANDS:
        ended = seen(system, *command)
        assert (ended.returncode, ended.stderr) == (0, ""), f"{command}: {ended}"
    assert [process.poll() for process in (worker, maintenance, beat)] == [None] * 3
    assert "Traceback" not in system.logs()


def doctor_names_info(system: System) -> None:
    doctor = seen(system, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    lines = doctor.stdout.splitlines()
    assert any(line.startswith("warning") and "INFO is refused" in line for line in lines)
    for kind in ("downloads", "maintenance"):  # their mailboxes work
        assert any(line.startswith(f"ok        workers of {kind}") for line in lines), lines
    stats = seen(system, *NEEDS_INFO)
    assert stats.returncode == 1
    assert stats.stderr.startswith("seen: The store refuses: ")
    assert len(stats.stderr.splitlines()) == 1


def test_service_runs_with_the_rights_of_the_document(
    tmp_path: Path, private_store: StoreServer, origin: Origin
) -> None:
    login = {"SEEN_CACHE_USERNAME": USER_NAME, "SEEN_CACHE_PASSWORD": PASSWORD}
    with private_store.client() as client:
        grant_least_rights(client)
        client.execute_command("ACL", "LOG", "RESET")
        with System(tmp_path, private_store, settings=EVERYTHING | login) as system:
            run_a_whole_job(system, origin)
            doctor_names_info(system)
        refused = {entry["object"] for entry in client.acl_log(1000)}
    assert refused <= {"info", "client|setinfo"}


def test_service_runs_where_info_config_and_client_are_renamed_away(
    tmp_path: Path, private_stand_in: StoreServer, origin: Origin
) -> None:
    private_stand_in.refuse("ERR unknown command", commands=("INFO", "CONFIG", "CLIENT"))
    with System(tmp_path, private_stand_in, settings=EVERYTHING) as system:
        run_a_whole_job(system, origin)
        doctor_names_info(system)
