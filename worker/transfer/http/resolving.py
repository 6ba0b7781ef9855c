"""Why a host name was not resolved: libcurl says that it was not, the system's resolver says why."""

from __future__ import annotations

import queue
import socket
import threading
from types import MappingProxyType

from domain.errors import TransientError

#: The code of a name that does not exist, which may be tried again once only.
NO_SUCH_HOST = "no_such_host"
#: libcurl has asked the same a moment ago, so an answer is near, or there is trouble. Seconds.
_TIMEOUT = 2.0

#: Codes of getaddrinfo (RFC 3493, section 6.1) and what each means for another attempt. Those that only
#: a wrong call can cause count as trouble, too: a name is never given up for our own mistake.
MEANINGS = MappingProxyType(
    {
        socket.EAI_NONAME: NO_SUCH_HOST,
        socket.EAI_NODATA: NO_SUCH_HOST,  # the name exists and has no address
        socket.EAI_ADDRFAMILY: NO_SUCH_HOST,  # … none of a family that this machine speaks
        socket.EAI_AGAIN: "dns",  # the name server did not answer, or had trouble of its own
        socket.EAI_FAIL: "dns",  # … or refused to answer
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
    """Return why `host` was not resolved; `no_such_host` where the resolver is sure of it.

    Takes two seconds at most: a resolver that is still silent then has trouble that may pass.
    """
    code, words = _resolve_in_thread(host)
    if code == NO_SUCH_HOST:
        return TransientError(f"There is no host {host!r} ({words}).", code=code)
    return TransientError(f"The host name {host!r} cannot be resolved: {words}.", code=code)


def _resolve_in_thread(host: str) -> tuple[str, str]:
    """Return the code of our own for what the resolver says, and its words."""
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    # In a thread of its own: getaddrinfo cannot be interrupted, and may take a minute.
    asking = threading.Thread(target=lambda: answers.put(_resolve(host)), daemon=True)
    try:
        asking.start()
        return answers.get(timeout=_TIMEOUT)
    except (queue.Empty, RuntimeError):  # no answer, or no thread
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
