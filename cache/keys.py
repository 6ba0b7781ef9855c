"""Every key the service uses, built in one place so that no two kinds can ever collide."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

from cache import arguments
from domain.errors import InvalidInputError

MAX_IDENTIFIER_BYTES = 512
#: A longer search query stands in its key as a digest.
MAX_QUERY_CHARS = 100

#: First parts of the names of the service's own locks: the beat that leads, and its periodic tasks.
RESERVED_LOCKS = frozenset({"beat", "task"})

_UNESCAPED = "-._~@"
#: Keys whose identifier is a session's or a user's.
_PRIVATE = re.compile(
    r"(?P<head>(session|user|ratelimit|recommendation|slots:user|"
    r"catalog:(dashboard|watchlater|continue)):)"
    r"(?P<id>[^:]+)(?P<tail>:.*)?",
    re.DOTALL,
)
#: What most identifiers are made of: they stand in a key as they are.
_PLAIN = re.compile(r"[A-Za-z0-9._~@-]{1,512}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class KeyBuilder:
    """Builds keys under one namespace.

    Identifiers are percent-encoded (RFC 3986) but for letters, digits and ``-._~@``, so an id with a
    colon or a glob character cannot pose as another key or widen a pattern. Empty and over-long
    identifiers are refused with InvalidInputError.
    """

    def __init__(self, namespace: str = "seen") -> None:
        if not _NAMESPACE.fullmatch(_text("namespace", namespace)):
            raise InvalidInputError(
                "namespace", namespace, "It has 1 to 40 letters, digits, dots, dashes, underscores."
            )
        self.namespace = namespace
        self._prefix = f"{namespace}:"

    # ── sessions and users ──────────────────────────────────────────────────────────────────────

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

    # ── catalogs ────────────────────────────────────────────────────────────────────────────────

    def catalog_dashboard_key(self, user_id: str) -> str:
        """One user's dashboard."""
        return self._catalog("dashboard", _escape("user_id", user_id))

    def catalog_discover_key(self, genre: str, kind: str, page: int) -> str:
        """One page of the discover sections; genre and kind may be empty."""
        number = arguments.integer("page", page, least=1)
        return self._catalog(
            "discover", _optional("genre", genre), _optional("kind", kind), str(number)
        )

    def catalog_search_key(self, query: str, genre: str, kind: str) -> str:
        """One search; a query of more than 100 characters stands as its SHA-256."""
        if len(_text("query", query)) > MAX_QUERY_CHARS:
            # "=" never appears unencoded in a short query, so the two forms cannot meet.
            shown = f"sha256={hashlib.sha256(_encode('query', query)).hexdigest()}"
        else:
            shown = _escape("query", query)
        return self._catalog("search", shown, _optional("genre", genre), _optional("kind", kind))

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
        """The index of the catalog entries in which one title appears."""
        return self._catalog("title", _escape("title_id", title_id))

    def _catalog(self, *parts: str) -> str:
        return f"{self._prefix}catalog:{':'.join(parts)}"

    # ── downloads ───────────────────────────────────────────────────────────────────────────────

    def download_job_key(self, job_id: str) -> str:
        """The progress hash of one job."""
        return f"{self._prefix}download:job:{_escape('job_id', job_id)}"

    def active_downloads_key(self) -> str:
        """Sorted set of running jobs by their last update (milliseconds since the epoch)."""
        return f"{self._prefix}download:active"

    def dirty_downloads_key(self) -> str:
        """Sorted set of jobs whose progress the database does not have yet, by progress version."""
        return f"{self._prefix}download:dirty"

    def download_rate_key(self) -> str:
        """Hash of the bytes that all workers wrote in each of the last seconds."""
        return f"{self._prefix}download:rate"

    # ── limits of transfers ─────────────────────────────────────────────────────────────────────

    def limits_key(self) -> str:
        """Hash from scope (`total`, `host:<host>`, `job:<id>`) to its limit in bytes a second."""
        return f"{self._prefix}limits"

    def demand_key(self, scope: str) -> str:
        """What each process demands of the limited rate of one scope."""
        return f"{self._prefix}demand:{_kind_and_name('scope', scope)}"

    def slots_key(self, resource: str) -> str:
        """Who holds how many slots of a resource, such as ``connections:<host>``."""
        return f"{self._prefix}slots:{_kind_and_name('resource', resource)}"

    def cooldown_key(self, host: str) -> str:
        """The mark of a host that is to be left alone for a while."""
        return f"{self._prefix}cooldown:{_escape('host', host)}"

    # ── beat ────────────────────────────────────────────────────────────────────────────────────

    def beat_key(self) -> str:
        """Hash with beat's last tick."""
        return f"{self._prefix}beat"

    def beat_sent_key(self, entry: str) -> str:
        """The claim of the beat that sent an entry of the schedule within its interval."""
        return f"{self._prefix}beat:sent:{_escape('entry', entry)}"

    # ── rate limits, locks ──────────────────────────────────────────────────────────────────────

    def rate_limit_key(self, user_id: str, action: str) -> str:
        """The counter of one user's one action."""
        user, act = _escape("user_id", user_id), _escape("action", action)
        return f"{self._prefix}ratelimit:{user}:{act}"

    def lock_key(self, resource: str) -> str:
        """The lock of one resource; colons in its name stay, so ``download:<id>`` reads as such."""
        _bounded("resource", _text("resource", resource))
        parts = (_escape("resource", part) for part in resource.split(":"))
        return f"{self._prefix}lock:{':'.join(parts)}"

    def download_lock_key(self, job_id: str) -> str:
        """The lock that the worker of one job holds."""
        return f"{self._prefix}lock:download:{_escape('job_id', job_id)}"

    def health_key(self, probe: str) -> str:
        """A key of its own for one health check."""
        return f"{self._prefix}health:{_escape('probe', probe)}"

    def data_loss_marker_key(self) -> str:
        """The mark by which it is noticed that the store has lost its data."""
        return f"{self._prefix}continuity"

    # ── logs ────────────────────────────────────────────────────────────────────────────────────

    def redacted(self, key: str) -> str:
        """Return a key as logs may have it: ids of sessions and users stand as eight digits of a digest.

        The same id has the same digits, so that lines about it can be found together.
        """
        return redacted(key) if _text("key", key).startswith(self._prefix) else key

    # ── patterns ────────────────────────────────────────────────────────────────────────────────

    def pattern(self, pattern: str) -> str:
        """Return `pattern` if it stays inside the namespace, else raise InvalidInputError."""
        if not _text("pattern", pattern).startswith(self._prefix):
            raise InvalidInputError(
                "pattern", pattern, f"It must begin with {self._prefix!r}: other keys are not ours."
            )
        return pattern


def check_application_lock(resource: Any) -> Any:
    """Return the name of a lock of the application's, unless it is one of the service's own.

    ``download:<id>`` is shared on purpose: its holder keeps the workers off that download.

    Raises:
        InvalidInputError: the name begins with one of `RESERVED_LOCKS`.
    """
    if isinstance(resource, str) and resource.partition(":")[0] in RESERVED_LOCKS:
        problem = f"The service has a lock of that name; use another one, such as 'app:{resource}'."
        raise InvalidInputError("resource", resource, problem)
    return resource


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
        raise InvalidInputError(field, value, "It must be a string.")
    return value


def _escape(field: str, identifier: str) -> str:
    if not _text(field, identifier):
        raise InvalidInputError(field, identifier, "It must not be empty.")
    return _bounded(field, identifier)


def _kind_and_name(field: str, text: str) -> str:
    """Escape ``kind:name``; further colons belong to the name (an IPv6 address has some)."""
    kind, colon, name = _text(field, text).partition(":")
    return f"{_escape(field, kind)}:{_escape(field, name)}" if colon else _escape(field, kind)


def _optional(field: str, part: str) -> str:
    return _bounded(field, _text(field, part))


def _bounded(field: str, identifier: str) -> str:
    if _PLAIN.fullmatch(identifier):
        return identifier
    raw = _encode(field, identifier)
    if len(raw) > MAX_IDENTIFIER_BYTES:
        raise InvalidInputError(
            field, identifier, f"It may have {MAX_IDENTIFIER_BYTES} bytes at most."
        )
    return quote(raw, safe=_UNESCAPED)


def _encode(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(field, text, "It is not valid Unicode text.") from error
