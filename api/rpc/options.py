"""Options of `aria2.addUri`, by aria2's names: what each becomes of a request, or why it is refused.

An option that is in none of the tables has no meaning for aria2's `addUri` either, which ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from api.rpc.errors import RpcError

_SIZE = re.compile(r"([0-9]{1,18})([KkMm]?)", re.ASCII)
_UNITS = {"": 1, "k": 2**10, "m": 2**20}
_MOST_CONNECTIONS, _MOST_ATTEMPTS = 32, 1_000
#: aria2's names of checksums.
CHECKSUMS = {"md5": "md5", "sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}

Values = list[str]


@dataclass(slots=True)
class Draft:
    """A request that is being put together.

    Attributes:
        url: of the download.
        fields: of `domain.request.DownloadRequest`.
        headers: by their names in lower case, each with its name as given.
        cookies: values of Cookie headers.
        connections: what limits them.
        is_paused: it is not started.
    """

    url: str
    fields: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, tuple[str, str]] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    is_paused: bool = False

    def request(self) -> dict[str, Any]:
        """Return the request as JSON has it."""
        found: dict[str, Any] = {"url": self.url, **self.fields}
        if self.headers:
            found["headers"] = dict(self.headers.values())
        if self.cookies:
            found["cookies"] = "; ".join(self.cookies)
        if self.connections:
            found["connections"] = min(*self.connections, _MOST_CONNECTIONS)
        return found


@dataclass(frozen=True, slots=True)
class Option:
    """An option that has an effect.

    Attributes:
        use: puts its value into a draft; raises ValueError with what is wrong.
        meaning: for the documentation.
        field: of the request that it becomes, for errors.
    """

    use: Callable[[Draft, str], None]
    meaning: str
    field: str = ""


def problem(name: str, why: str = "") -> RpcError:
    """Return aria2's error for the value of an option, and the reason."""
    text = f"We encountered a problem while processing the option '--{name}'."
    return RpcError(f"{text} {why}".rstrip())


def values(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield options with each of their values: texts; also numbers and truth values as such.

    Raises:
        RpcError: a value is something else.
    """
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                yield name, str(one).lower()
            elif isinstance(one, str | int):
                yield name, str(one)
            else:
                raise problem(name[:100], "Its value is a text.")


def read(options: Mapping[str, Any], draft: Draft) -> None:
    """Put options into a draft.

    Raises:
        RpcError: one is refused, or has a value that is not valid.
    """
    for name, value in values(options):
        refuse(name, value)
        if name in OPTIONS:
            use(name, value, draft)


def use(name: str, value: str, draft: Draft) -> None:
    """Put an option that has an effect into a draft. Raises RpcError for a value that is not valid."""
    try:
        OPTIONS[name].use(draft, value)
    except ValueError as error:
        raise problem(name, str(error)) from None


def refuse(name: str, value: str) -> None:
    """Raise RpcError for an option that would be ignored to someone's harm."""
    if name in REFUSED:
        harmless, why = REFUSED[name]
        if value not in harmless:
            raise problem(name, why)


def size(text: str) -> int:
    """Return a number of bytes: `20K`, `1M` or digits. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("It is a number of bytes, perhaps with K or M behind it.")
    return int(found[1]) * _UNITS[found[2].lower()]


def truth(text: str) -> bool:
    """Return a truth value. Raises ValueError."""
    if text not in {"true", "false"}:
        raise ValueError("It is true or false.")
    return text == "true"


def _number(text: str, low: int) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text[:19]):
        raise ValueError(f"It is a whole number, {low} at least.")
    return int(text[:19])


def _out(draft: Draft, value: str) -> None:
    # aria2 takes a path in the folder.
    folder, _, name = value.rpartition("/")
    draft.fields["name"] = name if value else None
    if folder:
        draft.fields["out_folder"] = folder


def _header(draft: Draft, line: str) -> None:
    if not line:
        return
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError("A header is written `Name: value`.")
    _set_header(draft, name.strip(), value.strip())


def _set_header(draft: Draft, name: str, value: str) -> None:
    if name.lower() == "cookie":
        draft.cookies.append(value)
    elif value:
        draft.headers[name.lower()] = (name, value)


def _referer(draft: Draft, value: str) -> None:
    _set_header(draft, "Referer", draft.url if value == "*" else value)


def _user_agent(draft: Draft, value: str) -> None:
    _set_header(draft, "User-Agent", value)


def _no_cache(draft: Draft, value: str) -> None:
    if truth(value):
        _set_header(draft, "Cache-Control", "no-cache")
        _set_header(draft, "Pragma", "no-cache")


def _checksum(draft: Draft, value: str) -> None:
    kind, _, digest = value.partition("=")
    if kind.lower() not in CHECKSUMS:
        raise ValueError(f"It is TYPE=DIGEST, and TYPE one of {', '.join(CHECKSUMS)}.")
    draft.fields["checksum"] = f"{CHECKSUMS[kind.lower()]}:{digest}"


def _connections(draft: Draft, value: str) -> None:
    draft.connections.append(_number(value, 1))


def _rate(draft: Draft, value: str) -> None:
    draft.fields["max_rate"] = size(value) or None


def _attempts(draft: Draft, value: str) -> None:
    draft.fields["max_attempts"] = min(_number(value, 0) or _MOST_ATTEMPTS, _MOST_ATTEMPTS)


def _pause(draft: Draft, value: str) -> None:
    draft.is_paused = truth(value)


def _overwrite(draft: Draft, value: str) -> None:
    draft.fields["overwrite"] = truth(value)


def _login(field: str, schemes: tuple[str, ...]) -> Callable[[Draft, str], None]:
    """Return what uses a part of the login for URLs of some schemes."""

    def use(draft: Draft, value: str) -> None:
        if draft.url.lower().startswith(schemes):
            draft.fields[field] = value or None

    return use


#: By option, the headers that it sets, in lower case; `header` sets all others.
HEADERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "referer": frozenset({"referer"}),
        "user-agent": frozenset({"user-agent"}),
        "http-no-cache": frozenset({"cache-control", "pragma"}),
    }
)
_HTTP, _FTP = ("http:", "https:"), ("ftp:", "ftps:")

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "out": Option(_out, "the name of the file, perhaps with a folder in `dir`", "name"),
        "dir": Option(
            lambda draft, value: draft.fields.__setitem__("directory", value),
            "the folder: in the download folder, relative or absolute",
            "directory",
        ),
        "header": Option(_header, "request headers; Cookie, too", "headers"),
        "referer": Option(_referer, "the header; `*` is the URL itself"),
        "user-agent": Option(_user_agent, "the header"),
        "http-no-cache": Option(_no_cache, "the headers Cache-Control and Pragma"),
        "http-user": Option(_login("username", _HTTP), "the login for http", "username"),
        "http-passwd": Option(_login("password", _HTTP), "the login for http", "password"),
        "ftp-user": Option(_login("username", _FTP), "the login for ftp"),
        "ftp-passwd": Option(_login("password", _FTP), "the login for ftp"),
        "checksum": Option(_checksum, f"checked at the end: {', '.join(CHECKSUMS)}", "checksum"),
        "split": Option(
            _connections, "connections, 32 at most; the smaller one of the two", "connections"
        ),
        "max-connection-per-server": Option(_connections, "as `split`"),
        "max-download-limit": Option(
            _rate, "bytes a second, 1024 at least; 0 for none", "max_rate"
        ),
        "max-tries": Option(_attempts, "attempts; 0 means 1,000", "max_attempts"),
        "pause": Option(_pause, "it is added and paused"),
        "allow-overwrite": Option(_overwrite, "replace a file; only admins", "overwrite"),
    }
)

_PROXY = "Downloads use the proxy of the service (SEEN_PROXY)."
_OFF = frozenset({"", "false"})
_EMPTY = frozenset({""})

#: By name: the values that are harmless, and why others are refused.
REFUSED: Mapping[str, tuple[frozenset[str], str]] = MappingProxyType(
    {
        **{
            f"{kind}-proxy{part}": (_EMPTY, _PROXY)
            for kind in ("all", "http", "https", "ftp")
            for part in ("", "-user", "-passwd")
        },
        "no-proxy": (_EMPTY, _PROXY),
        "gid": (_EMPTY, "The service chooses GIDs."),
        "dry-run": (_OFF, "A download that is added is made."),
        "hash-check-only": (_OFF, "A download that is added is made."),
        "conditional-get": (_OFF, "A download that is added is made, whatever file there is."),
        "parameterized-uri": (_OFF, "Give each URI as it is."),
        "ftp-type": (frozenset({"", "binary"}), "Files are stored as they are."),
    }
)

#: They change how aria2 works, or are for torrents and metalinks: without them the file is the same.
IGNORED: frozenset[str] = frozenset(
    (
        *("allow-piece-length-change", "always-resume", "async-dns"),
        *("auto-file-renaming", "bt-enable-hook-after-hash-check", "bt-enable-lpd"),
        *("bt-exclude-tracker", "bt-external-ip", "bt-force-encryption"),
        *("bt-hash-check-seed", "bt-load-saved-metadata", "bt-max-peers"),
        *("bt-metadata-only", "bt-min-crypto-level", "bt-prioritize-piece"),
        *("bt-remove-unselected-file", "bt-request-peer-speed-limit"),
        *("bt-require-crypto", "bt-save-metadata", "bt-seed-unverified"),
        *("bt-stop-timeout", "bt-tracker", "bt-tracker-connect-timeout"),
        *("bt-tracker-interval", "bt-tracker-timeout", "check-integrity"),
        *("connect-timeout", "content-disposition-default-utf8", "continue"),
        *("enable-http-keep-alive", "enable-http-pipelining", "enable-mmap"),
        *("enable-peer-exchange", "file-allocation", "follow-metalink"),
        *("follow-torrent", "force-save", "ftp-pasv", "ftp-reuse-connection"),
        *("http-accept-gzip", "http-auth-challenge", "index-out", "lowest-speed-limit"),
        *("max-file-not-found", "max-mmap-limit", "max-resume-failure-tries"),
        *("max-upload-limit", "metalink-base-uri", "metalink-enable-unique-protocol"),
        *("metalink-language", "metalink-location", "metalink-os"),
        *("metalink-preferred-protocol", "metalink-version", "min-split-size"),
        *("no-file-allocation-limit", "no-netrc", "pause-metadata", "piece-length"),
        *("proxy-method", "realtime-chunk-checksum", "remote-time"),
        *("remove-control-file", "retry-wait", "reuse-uri", "rpc-save-upload-metadata"),
        *("seed-ratio", "seed-time", "select-file", "ssh-host-key-md"),
        *("stream-piece-selector", "timeout", "uri-selector", "use-head"),
    )
)
