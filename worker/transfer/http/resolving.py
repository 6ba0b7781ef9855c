"""Finds out why a host name was not resolved: libcurl gives no reason, the system's resolver does."""

from __future__ import annotations

import queue
import socket
import threading
from types import MappingProxyType

from domain.errors import TransientError

#: The error code of a name that does not exist: it is retried once.
NO_SUCH_HOST = "no_such_host"
#: Short, since libcurl has just sent the same query: a working name server has the answer. Seconds.
_TIMEOUT = 2.0

#: Codes of getaddrinfo (RFC 3493, section 6.1) and the error code for each. Those that only a wrong call
#: can cause are transient: a mistake of ours must not fail a download permanently.
MEANINGS = MappingProxyType(
    {
        socket.EAI_NONAME: NO_SUCH_HOST,
        socket.EAI_NODATA: NO_SUCH_HOST,  # the name exists and has no address
        socket.EAI_ADDRFAMILY: NO_SUCH_HOST,  # … no address of a family that this machine supports
        socket.EAI_AGAIN: "dns",  # the name server did not answer, or failed
        socket.EAI_FAIL: "dns",  # the name server refused to answer
        socket.EAI_MEMORY: "dns",
        socket.EAI_SYSTEM: "dns",
        socket.EAI_OVERFLOW: "dns",
        socket.EAI_BADFLAGS: "dns",
        socket.EAI_FAMILY: "dns",
        socket.EAI_SERVICE: "dns",
        socket.EAI_SOCKTYPE: "dns",
    }
)


def resolution_error(host: str) -> TransientError:
    """Return why `host` was not resolved: code ``no_such_host`` if it does not exist, else ``dns``.

    Takes two seconds at most; a resolver that has not answered by then counts as ``dns``.
    """
    code, reason = _resolve_in_thread(host)
    if code == NO_SUCH_HOST:
        return TransientError(f"There is no host {host!r} ({reason}).", code=code)
    return TransientError(f"The host name {host!r} cannot be resolved: {reason}.", code=code)


def _resolve_in_thread(host: str) -> tuple[str, str]:
    """Return the error code and the reason."""
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    # In a thread: getaddrinfo cannot be interrupted, and may take a minute.
    thread = threading.Thread(target=lambda: answers.put(_resolve(host)), daemon=True)
    try:
        thread.start()
        return answers.get(timeout=_TIMEOUT)
    except (queue.Empty, RuntimeError):  # no answer in time, or no thread
        return "dns", "the resolver does not answer"


def _resolve(host: str) -> tuple[str, str]:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return MEANINGS.get(error.errno or 0, "dns"), str(error.strerror)
    except UnicodeError:
        return NO_SUCH_HOST, "a label of it is empty or too long"
    except OSError as error:
        return "dns", str(error.strerror or error)
    return "dns", "the resolver failed a moment ago"
