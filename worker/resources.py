"""What this process itself may lack: descriptors, memory, threads, ports. It says nothing of an origin.

Whatever shows such a lack is classified here, and becomes `WorkerResourcesError`: the job waits, uses no
attempt, and its reason names what is missing. Errors of the disk come classified by `disk_errors`.
"""

from __future__ import annotations

import errno
import os
import resource
from types import MappingProxyType

import pycurl

from domain.errors import WorkerResourcesError

#: What the system says when it, or this process, has no more of something.
_LACKS = MappingProxyType(
    {
        errno.EMFILE: "file descriptors (RLIMIT_NOFILE)",
        errno.ENFILE: "file descriptors of the whole system",
        errno.ENOMEM: "memory",
        errno.ENOBUFS: "memory for sockets",
        errno.EADDRNOTAVAIL: "local ports",
    }
)
_NO_HANDLE = "memory or file descriptors"
#: libcurl's codes that say so by themselves.
_CURL_LACKS = MappingProxyType({pycurl.E_OUT_OF_MEMORY: "memory", pycurl.E_FAILED_INIT: _NO_HANDLE})
#: Its codes behind which a lack may stand: of sockets, of the resolver's threads and sockets, and of
#: descriptors for certificates and netrc.
_CURL_MAYBE = frozenset(
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
#: With fewer free descriptors than this, one of those codes is put down to the lack of them.
_SCARCE = 4


def resource_error_of(error: BaseException) -> WorkerResourcesError | None:
    """Return the lack that an exception, or what caused it, shows; None when it shows none."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        what = _shown_by(cause)
        if what is not None:
            return cause if isinstance(cause, WorkerResourcesError) else resource_error(what)
        cause = cause.__cause__ or cause.__context__
    return None


def resource_error_for_curl_code(
    code: int, system_errno: int, detail: str, *, is_ipv6: bool
) -> WorkerResourcesError | None:
    """Return the lack that the end of a request shows; None when it shows none.

    Args:
        code: libcurl's.
        system_errno: what the system said to libcurl last, 0 for nothing.
        detail: libcurl's own words.
        is_ipv6: the address last connected to. To one of those EADDRNOTAVAIL says as a rule that this
            machine has no IPv6, which does not pass.
    """
    if code in _CURL_LACKS:
        return resource_error(_CURL_LACKS[code])
    if code not in _CURL_MAYBE:
        return None
    if "thread" in detail:
        return resource_error("threads")
    if system_errno in _LACKS and not (is_ipv6 and system_errno == errno.EADDRNOTAVAIL):
        return resource_error(_LACKS[system_errno])
    return resource_error(_LACKS[errno.EMFILE]) if descriptors_are_scarce() else None


def resource_error(what: str) -> WorkerResourcesError:
    """Return the error of a process that lacks something."""
    return WorkerResourcesError(f"The worker has too few resources: it lacks {what}.")


def descriptors_are_scarce() -> bool:
    """Say whether this process has next to no file descriptors left."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return len(os.listdir("/proc/self/fd")) > soft - _SCARCE  # noqa: PTH208 - it is counted often
    except FileNotFoundError:
        return False  # not every system tells
    except OSError as error:
        return error.errno in _LACKS


def _shown_by(error: BaseException) -> str | None:
    if isinstance(error, WorkerResourcesError):
        return str(error)
    if isinstance(error, OSError):
        return _LACKS.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "threads"
    if isinstance(error, pycurl.error) and error.args:
        # Of handles that libcurl could not make there is no code, only pycurl's own words.
        could_not_make = str(error.args[0]).startswith("initializing ")
        return _NO_HANDLE if could_not_make else _CURL_LACKS.get(error.args[0])
    # SQLite names no errno; it is the process's own database file that it has opened before.
    if "unable to open database file" in str(error) and descriptors_are_scarce():
        return _LACKS[errno.EMFILE]
    return None
