"""Recognises errors that mean that this process ran out of descriptors, memory, threads or ports.

They become `WorkerResourcesError`: the job waits, uses no attempt, and its reason names the resource.
Errors of the disk are classified by `worker.storage.disk_errors`.
"""

from __future__ import annotations

import errno
import os
import resource
from types import MappingProxyType

import pycurl

from domain.errors import WorkerResourcesError

#: The resource that each errno means.
_RESOURCE_BY_ERRNO = MappingProxyType(
    {
        errno.EMFILE: "file descriptors (RLIMIT_NOFILE)",
        errno.ENFILE: "file descriptors of the whole system",
        errno.ENOMEM: "memory",
        errno.ENOBUFS: "memory for sockets",
        errno.EADDRNOTAVAIL: "local ports",
    }
)
_NO_HANDLE = "memory or file descriptors"
#: libcurl's codes that always mean it.
_RESOURCE_BY_CURL_CODE = MappingProxyType(
    {pycurl.E_OUT_OF_MEMORY: "memory", pycurl.E_FAILED_INIT: _NO_HANDLE}
)
#: libcurl's codes that may mean it: sockets, threads of the resolver, descriptors for certificates
#: and netrc.
_AMBIGUOUS_CURL_CODES = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_COULDNT_RESOLVE_HOST,
        pycurl.E_COULDNT_RESOLVE_PROXY,
        pycurl.E_INTERFACE_FAILED,
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_READ_ERROR,
    }
)
#: With fewer free descriptors than this, an ambiguous code is taken for their shortage.
_SCARCE = 4


def resource_error_of(error: BaseException) -> WorkerResourcesError | None:
    """Return the shortage that an exception or one of its causes means; None without one."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        what = _resource_of(cause)
        if what is not None:
            return cause if isinstance(cause, WorkerResourcesError) else resource_error(what)
        cause = cause.__cause__ or cause.__context__
    return None


def resource_error_for_curl_code(
    code: int, system_errno: int, detail: str, *, is_ipv6: bool
) -> WorkerResourcesError | None:
    """Return the shortage that the end of a request means; None without one.

    Args:
        code: libcurl's.
        system_errno: the last one that libcurl saw; 0 for none.
        detail: libcurl's message.
        is_ipv6: the last address was of IPv6. There EADDRNOTAVAIL usually means that this machine has
            no IPv6, which is no shortage.
    """
    if code in _RESOURCE_BY_CURL_CODE:
        return resource_error(_RESOURCE_BY_CURL_CODE[code])
    if code not in _AMBIGUOUS_CURL_CODES:
        return None
    if "thread" in detail:
        return resource_error("threads")
    if system_errno in _RESOURCE_BY_ERRNO and not (is_ipv6 and system_errno == errno.EADDRNOTAVAIL):
        return resource_error(_RESOURCE_BY_ERRNO[system_errno])
    return resource_error(_RESOURCE_BY_ERRNO[errno.EMFILE]) if descriptors_are_scarce() else None


def resource_error(what: str) -> WorkerResourcesError:
    """Return the error of a process that lacks a resource."""
    return WorkerResourcesError(f"The worker has too few resources: it lacks {what}.")


def descriptors_are_scarce() -> bool:
    """Return whether this process has almost no file descriptors left."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return len(os.listdir("/proc/self/fd")) > soft - _SCARCE  # noqa: PTH208 - called often
    except FileNotFoundError:
        return False  # not every system has it
    except OSError as error:
        return error.errno in _RESOURCE_BY_ERRNO


def _resource_of(error: BaseException) -> str | None:
    if isinstance(error, WorkerResourcesError):
        return str(error)
    if isinstance(error, OSError):
        return _RESOURCE_BY_ERRNO.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "threads"
    if isinstance(error, pycurl.error) and error.args:
        # A handle that libcurl could not make has no code, only pycurl's message.
        has_no_handle = str(error.args[0]).startswith("initializing ")
        return _NO_HANDLE if has_no_handle else _RESOURCE_BY_CURL_CODE.get(error.args[0])
    # SQLite gives no errno. The database file exists: this process has opened it before.
    if "unable to open database file" in str(error) and descriptors_are_scarce():
        return _RESOURCE_BY_ERRNO[errno.EMFILE]
    return None
