"""All keys of the service, built in one place so that no two kinds collide."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from cache import arguments
from domain.errors import InvalidInputError

MAX_IDENTIFIER_BYTES = 512
#: A longer search query is replaced by its digest.
MAX_QUERY_CHARS = 100

#: First parts of lock names that the service uses itself: for beat and for periodic tasks.
RESERVED_LOCKS = frozenset({"beat", "task"})

_UNESCAPED = "-._~@"
#: Keys with a session id or a user id.
_PRIVATE = re.compile(
    r"(?P<head>(session|user|ratelimit|recommendation|slots:user|"
    r"catalog:(dashboard|watchlater|continue)):)"
    r"(?P<id>[^:]+)(?P<tail>:.*)?",
    re.DOTALL,
)
#: Identifiers that need no escaping.
_PLAIN = re.compile(r"[A-Za-z0-9._~@-]{1,512}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class KeyBuilder:
    """Builds keys in one namespace.

    Identifiers are percent-encoded (RFC 3986) except letters, digits and ``-._~@``, so that an id with a
    colon or a glob character cannot collide with another key or widen a pattern. An empty or too long
    identifier raises InvalidInputError; `possible_key` returns None for it.

    Any text has a key as query, genre or kind of a catalog page, and as user or action of a rate limit:
    strangers type or send it. A long one is replaced by its digest.
    """

    def __init__(self, namespace: str = "seen") -> None:
        if not _NAMESPACE.fullmatch(_text("namespace", namespace)):
            raise InvalidInputError(
                "namespace",
                namespace,
                "It must have 1 to 40 letters, digits, dots, dashes or underscores.",
            )
        self.namespace = namespace
        self._prefix = f"{namespace}:"

    # ── sessions and users ───────────────────────────────────────────────────────────────────────

    def session_key(self, session_id: str) -> str:
        """One session."""
        return f"{self._prefix}session:{_escape('session_id', session_id)}"

    def user_key(self, user_id: str) -> str:
        """One user's profile."""
        return f"{self._prefix}user:{_escape('user_id', user_id)}"

    def user_sessions_key(self, user_id: str) -> str:
        """The index of one user's sessions."""
        return f"{self.user_key(user_id)}:sessions"

    def user_downloads_key(self, user_id: str) -> str:
        """The index of one user's downloads."""
        return f"{self.user_key(user_id)}:downloads"

    # ── catalogs ─────────────────────────────────────────────────────────────────────────────────

    def catalog_dashboard_key(self, user_id: str) -> str:
        """One user's dashboard."""
        return self._catalog("dashboard", _escape("user_id", user_id))

    def catalog_discover_key(self, genre: str, kind: str, page: int) -> str:
        """One page of the discover sections; genre and kind may be empty."""
        number = arguments.integer("page", page, least=1)
        return self._catalog("discover", _any("genre", genre), _any("kind", kind), str(number))

    def catalog_search_key(self, query: str, genre: str, kind: str) -> str:
        """One search; a query of more than 100 characters is replaced by its SHA-256."""
        words = _any("query", query, most_chars=MAX_QUERY_CHARS)
        return self._catalog("search", words, _any("genre", genre), _any("kind", kind))

    def catalog_watch_later_key(self, user_id: str) -> str:
        """One user's watch-later list."""
        return self._catalog("watchlater", _escape("user_id", user_id))

    def catalog_continue_watching_key(self, user_id: str) -> str:
        """One user's continue-watching list."""
        return self._catalog("continue", _escape("user_id", user_id))

    def recommendation_key(self, user_id: str) -> str:
        """One user's recommendations."""
        return f"{self._prefix}recommendation:{_escape('user_id', user_id)}"

    def catalog_title_key(self, title_id: str) -> str:
        """The index of the catalog entries with one title."""
        return self._catalog("title", _escape("title_id", title_id))

    def _catalog(self, *parts: str) -> str:
        return f"{self._prefix}catalog:{':'.join(parts)}"

    # ── downloads ────────────────────────────────────────────────────────────────────────────────

    def download_job_key(self, job_id: str) -> str:
        """The progress hash of one job."""
        return f"{self._prefix}download:job:{_escape('job_id', job_id)}"

    def active_downloads_key(self) -> str:
        """Sorted set of running jobs by their last update (milliseconds since the epoch)."""
        return f"{self._prefix}download:active"

    def dirty_downloads_key(self) -> str:
        """Sorted set of jobs with progress that is not persisted, by progress version."""
        return f"{self._prefix}download:dirty"

    def download_rate_key(self) -> str:
        """Hash of the bytes that all workers wrote in each of the last seconds."""
        return f"{self._prefix}download:rate"

    # ── limits of transfers ──────────────────────────────────────────────────────────────────────

    def limits_key(self) -> str:
        """Hash from scope (`total`, `host:<host>`, `job:<id>`) to its limit in bytes a second."""
        return f"{self._prefix}limits"

    def demand_key(self, scope: str) -> str:
        """Hash of each process's demand for the limited rate of one scope."""
        return f"{self._prefix}demand:{_kind_and_name('scope', scope)}"

    def slots_key(self, resource: str) -> str:
        """Hash from member to its slots of a resource, such as ``connections:<host>``."""
        return f"{self._prefix}slots:{_kind_and_name('resource', resource)}"

    def cooldown_key(self, host: str) -> str:
        """The cooldown of one host."""
        return f"{self._prefix}cooldown:{_escape('host', host)}"

    # ── beat ─────────────────────────────────────────────────────────────────────────────────────

    def beat_key(self) -> str:
        """Hash with beat's last tick."""
        return f"{self._prefix}beat"

    def workers_key(self) -> str:
        """Sorted set of the workers that run, by the time of their last heartbeat (ms)."""
        return f"{self._prefix}workers"

    def beat_sent_key(self, entry: str) -> str:
        """The claim of the beat that sent an entry of the schedule within its interval."""
        return f"{self._prefix}beat:sent:{_escape('entry', entry)}"

    # ── rate limits, locks ───────────────────────────────────────────────────────────────────────

    def rate_limit_key(self, user_id: str, action: str) -> str:
        """The log of one user's calls of one action."""
        return f"{self._prefix}ratelimit:{_any('user_id', user_id)}:{_any('action', action)}"

    def lock_key(self, resource: str) -> str:
        """The lock of one resource; colons in its name are kept, as in ``download:<id>``."""
        _bounded("resource", _text("resource", resource))
        parts = (_escape("resource", part) for part in resource.split(":"))
        return f"{self._prefix}lock:{':'.join(parts)}"

    def download_lock_key(self, job_id: str) -> str:
        """The lock that a job's worker holds."""
        return f"{self._prefix}lock:download:{_escape('job_id', job_id)}"

    def health_key(self, probe: str) -> str:
        """The key of one health check."""
        return f"{self._prefix}health:{_escape('probe', probe)}"

    def data_loss_marker_key(self) -> str:
        """The marker whose absence shows that the store has lost data."""
        return f"{self._prefix}continuity"

    def metrics_key(self, server_id: str) -> str:
        """Hash of the counts of all processes, since this server process of the store has started."""
        return f"{self._prefix}metrics:{_escape('server_id', server_id)}"

    # ── logs ─────────────────────────────────────────────────────────────────────────────────────

    def redacted(self, key: str) -> str:
        """Return a key for logs: ids of sessions and users are replaced by eight digits of their digest.

        The same id gives the same digits, so that log lines about it can be found.
        """
        return redacted(key) if _text("key", key).startswith(self._prefix) else key

    # ── patterns ─────────────────────────────────────────────────────────────────────────────────

    def pattern(self, pattern: str) -> str:
        """Return `pattern` if it matches only keys of the namespace, else raise InvalidInputError."""
        if not _text("pattern", pattern).startswith(self._prefix):
            raise InvalidInputError(
                "pattern", pattern, f"It must begin with {self._prefix!r}, the namespace."
            )
        return pattern


def check_application_lock(resource: Any) -> Any:
    """Return the name of an application's lock; raise InvalidInputError if it is in `RESERVED_LOCKS`.

    ``download:<id>`` is not reserved: an application that holds it keeps workers from that download.
    """
    if isinstance(resource, str) and resource.partition(":")[0] in RESERVED_LOCKS:
        problem = f"The service reserves this name; use another one, such as 'app:{resource}'."
        raise InvalidInputError("resource", resource, problem)
    return resource


def possible_key(build: Callable[..., str], *identifiers: Any) -> str | None:
    """Return the key of identifiers from outside; None if no key can have them.

    Nothing is stored under such an identifier, because a write refuses it. So a read is a miss, and a
    deletion deletes nothing.
    """
    try:
        return build(*identifiers)
    except InvalidInputError:
        return None


def redacted(key: str) -> str:
    """Return a key of whatever namespace as logs and messages may have it, see `KeyBuilder.redacted`."""
    namespace, colon, name = key.partition(":")
    private = _PRIVATE.fullmatch(name)
    if private is None:
        return key
    digits = hashlib.sha256(private["id"].encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{namespace}{colon}{private['head']}#{digits}{private['tail'] or ''}"


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid(field, value, "It must be a string.")
    return value


def _escape(field: str, identifier: str) -> str:
    if not _text(field, identifier):
        raise _invalid(field, identifier, "It must not be empty.")
    return _bounded(field, identifier)


def _invalid(field: str, value: Any, remedy: str) -> InvalidInputError:
    """Return the error for an identifier; it does not show the id of a session or user."""
    if field in ("session_id", "user_id") and isinstance(value, str | bytes) and value:
        value = f"{type(value).__name__} of length {len(value)}"
    return InvalidInputError(field, value, remedy)


def _kind_and_name(field: str, text: str) -> str:
    """Escape ``kind:name``; further colons belong to the name, as in an IPv6 address."""
    kind, colon, name = _text(field, text).partition(":")
    return f"{_escape(field, kind)}:{_escape(field, name)}" if colon else _escape(field, kind)


def _any(field: str, text: str, *, most_chars: int = MAX_IDENTIFIER_BYTES) -> str:
    """Escape any text, also an empty one or bad Unicode; replace a long one by its digest."""
    if _PLAIN.fullmatch(_text(field, text)) and len(text) <= most_chars:
        return text
    # A lone surrogate is escaped as bytes that no valid text has.
    raw = text.encode(errors="surrogatepass")
    if len(text) <= most_chars and len(raw) <= MAX_IDENTIFIER_BYTES:
        return quote(raw, safe=_UNESCAPED)
    # "=" is always escaped in a shorter text, so the two forms cannot collide.
    return f"sha256={hashlib.sha256(raw).hexdigest()}"


def _bounded(field: str, identifier: str) -> str:
    if _PLAIN.fullmatch(identifier):
        return identifier
    raw = _encode(field, identifier)
    if len(raw) > MAX_IDENTIFIER_BYTES:
        raise _invalid(field, identifier, f"It must have at most {MAX_IDENTIFIER_BYTES} bytes.")
    return quote(raw, safe=_UNESCAPED)


def _encode(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(field, text, "It is not valid Unicode text.") from error
