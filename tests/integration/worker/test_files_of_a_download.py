"""The number of product files that run code in one download does not grow unnoticed."""

from __future__ import annotations

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.profiled_files import files_run_by
from tests.support.services.running import run_download
from tests.support.services.system import System, client_runtime

#: Of one plain, successful download; seven of them count, trace and log it. Lower it when files are
#: merged or no longer needed.
MOST_FILES = 109


def test_a_plain_download_runs_code_in_a_bounded_number_of_files(
    system: System, origin: Origin
) -> None:
    file = origin.serve("/film.mkv", size=3_000_000)
    first, second = system.submit(file.url), system.submit(f"{file.url}?2")
    run_download(system.runtime, first.id)  # imports what is imported at first use
    runtime = client_runtime(system.variables)  # its threads start in the profiled call
    try:
        files = files_run_by(lambda: run_download(runtime, second.id))
    finally:
        runtime.close()
    assert system.job(second).status is JobStatus.COMPLETED
    assert "worker/runner.py" in files
    assert "worker/progress/reporter.py" in files
    assert len(files) <= MOST_FILES, "\n".join(sorted(files))
