"""Where a lack of this process shows × what it is called; and what is no lack of ours."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pycurl
import pytest

from domain.errors import DatabaseUnavailableError, StoreUnavailableError, WorkerResourcesError
from worker.celery_ext import descriptors
from worker.limits.concurrency import RECOVERY, ConcurrencyLimit
from worker.resources import resource_error_for_curl_code, resource_error_of

ROOT = Path(__file__).parents[3]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


EMFILE = OSError(errno.EMFILE, "Too many open files")

LACKS: dict[str, tuple[BaseException, str]] = {
    "a descriptor": (EMFILE, "RLIMIT_NOFILE"),
    "a descriptor of the system": (OSError(errno.ENFILE, ""), "whole system"),
    "memory of the system": (OSError(errno.ENOMEM, ""), "memory"),
    "memory of Python": (MemoryError(), "memory"),
    "memory for sockets": (OSError(errno.ENOBUFS, ""), "sockets"),
    "a local port": (OSError(errno.EADDRNOTAVAIL, ""), "ports"),
    "a thread": (RuntimeError("can't start new thread"), "threads"),
    "memory of libcurl": (pycurl.error(pycurl.E_OUT_OF_MEMORY, ""), "memory"),
    "a handle of libcurl": (pycurl.error(pycurl.E_FAILED_INIT, ""), "descriptors"),
    "a loop of libcurl": (pycurl.error("initializing curl-multi failed"), "descriptors"),
    "a connection to the store": (caused(StoreUnavailableError("down"), EMFILE), "RLIMIT"),
    "a connection to the database": (caused(DatabaseUnavailableError("down"), EMFILE), "RLIMIT"),
    "what the disk said": (WorkerResourcesError("a lack"), "a lack"),
}


@pytest.mark.parametrize(("error", "word"), LACKS.values(), ids=LACKS)
def test_lack_of_this_process_is_called_so(error: BaseException, word: str) -> None:
    lack = resource_error_of(error)
    assert lack is not None
    assert (lack.code, word in str(lack)) == ("worker_resources", True)


NO_LACKS = [
    OSError(errno.ECONNREFUSED, ""),
    OSError(errno.ENOSPC, ""),
    OSError("without number"),
    RuntimeError("something else"),
    StoreUnavailableError("down"),
    DatabaseUnavailableError("unable to open database file"),
    pycurl.error(pycurl.E_COULDNT_CONNECT, ""),
    pycurl.error(),
]


@pytest.mark.parametrize("error", NO_LACKS, ids=repr)
def test_anything_else_is_no_lack(error: BaseException) -> None:
    assert resource_error_of(error) is None


@pytest.mark.parametrize(
    ("code", "number", "detail", "is_lack"),
    [
        (pycurl.E_OUT_OF_MEMORY, 0, "", True),
        (pycurl.E_FAILED_INIT, 0, "", True),
        (pycurl.E_COULDNT_CONNECT, errno.EMFILE, "", True),
        (pycurl.E_COULDNT_CONNECT, errno.ENFILE, "", True),
        (pycurl.E_COULDNT_CONNECT, errno.ENOMEM, "", True),
        (pycurl.E_COULDNT_CONNECT, errno.ENOBUFS, "", True),
        (pycurl.E_COULDNT_CONNECT, errno.EADDRNOTAVAIL, "", True),
        (pycurl.E_COULDNT_CONNECT, errno.ECONNREFUSED, "", False),
        (pycurl.E_COULDNT_CONNECT, errno.ENETUNREACH, "", False),
        (pycurl.E_COULDNT_CONNECT, 0, "", False),
        (pycurl.E_COULDNT_RESOLVE_HOST, 0, "getaddrinfo() thread failed to start", True),
        (pycurl.E_COULDNT_RESOLVE_HOST, 0, "Could not resolve host: a.invalid", False),
        (pycurl.E_SSL_CACERT_BADFILE, errno.EMFILE, "", True),
        (pycurl.E_SSL_CACERT_BADFILE, errno.ENOENT, "", False),
        (pycurl.E_OPERATION_TIMEDOUT, errno.EMFILE, "", False),
        (pycurl.E_PARTIAL_FILE, 0, "", False),
    ],
)
def test_end_of_a_request(code: int, number: int, detail: str, *, is_lack: bool) -> None:
    lack = resource_error_for_curl_code(code, number, detail, is_ipv6=False)
    assert (lack is not None) == is_lack


def test_ipv6_that_this_machine_lacks_is_the_jobs_trouble() -> None:
    """It does not pass by itself, as used up ports do."""
    code, number = pycurl.E_COULDNT_CONNECT, errno.EADDRNOTAVAIL
    assert resource_error_for_curl_code(code, number, "", is_ipv6=True) is None


# ── without descriptors ─────────────────────────────────────────────────────────────────────────


@contextmanager
def soft_limit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "code",
    [
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_COULDNT_RESOLVE_PROXY,
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_READ_ERROR,
    ],
)
def test_request_that_fails_without_descriptors_lacks_them(code: int) -> None:
    """libcurl names no errno: an open file, a thread's socket or the resolver's failed inside it."""
    with soft_limit(3):
        lack = resource_error_for_curl_code(code, 0, "", is_ipv6=False)
        sqlite = resource_error_of(DatabaseUnavailableError("(…) unable to open database file"))
    assert lack is not None
    assert sqlite is not None


def test_soft_limit_is_raised_as_far_as_needed() -> None:
    wanted = descriptors.needed(16, 4)
    with soft_limit(64):
        assert descriptors.prepare(16, 4) == 16
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == wanted
    with soft_limit(wanted + 1):
        assert descriptors.prepare(16, 4) == 16
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == wanted + 1


@pytest.mark.parametrize(("limit", "downloads"), [(10, 1), (64, 1), (256, 13), (1024, 68)])
def test_hard_limit_carries_so_many_downloads(limit: int, downloads: int) -> None:
    assert descriptors.allowed(limit, 4) == downloads
    assert downloads == 1 or descriptors.needed(downloads, 4) <= limit


# ── fewer at once ───────────────────────────────────────────────────────────────────────────────


def test_fewer_run_after_a_lack_and_one_more_at_a_time_later() -> None:
    now = [0.0]
    capacity = ConcurrencyLimit(lambda: now[0])
    assert all(capacity.try_acquire() for _ in range(8))
    assert capacity.bound is None
    capacity.reduce()
    capacity.reduce()  # the same lack, met by another job
    assert capacity.bound == 4
    assert not capacity.try_acquire()
    for _ in range(8):
        capacity.release()
    assert [capacity.try_acquire() for _ in range(5)] == [True] * 4 + [False]
    for step in range(1, 4):
        now[0] = step * RECOVERY
        assert capacity.bound == 4 + step
    now[0] = 4 * RECOVERY
    assert capacity.bound is None


def test_one_download_may_run_always() -> None:
    now = [0.0]
    capacity = ConcurrencyLimit(lambda: now[0])
    for step in range(3):
        now[0] = 2.0 * step
        assert capacity.try_acquire()
        capacity.reduce()
        capacity.release()
    assert capacity.bound in {None, 1}


THREADS = """
import resource, threading
from pathlib import Path
from worker.celery_ext.pool import TaskPool

pool = TaskPool(limit=16)
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 100 * 2**20, resource.RLIM_INFINITY))
together = threading.Event()
futures = [pool.executor.submit(together.wait) for _ in range(16)]
together.set()
assert all(future.result() for future in futures)
print(len(pool.executor._threads))
"""


def test_pool_goes_on_with_the_threads_it_could_start() -> None:
    """Given room for some stacks of 8 MiB: what was submitted runs on those."""
    output = subprocess.check_output(
        [sys.executable, "-c", THREADS], cwd=ROOT, text=True, stderr=subprocess.STDOUT, timeout=60
    )
    assert 1 <= int(output.split()[-1]) < 16
