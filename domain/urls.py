"""URLs: validation and canonical form. How they are shown: `domain.url_display`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self
from urllib.parse import quote, urljoin

from domain.errors import InvalidInputError
from domain.hosts import HostError, host_in_url, normal_host
from domain.url_display import display_url

#: RFC 9110, section 4.1, recommends support for at least 8000 octets; longer URLs are refused.
MAX_URL_OCTETS = 8000
MAX_PORT = 65535

SCHEMES = ("http", "https", "ftp", "ftps")
DEFAULT_PORTS: Mapping[str, int] = MappingProxyType(
    {"http": 80, "https": 443, "ftp": 21, "ftps": 990}
)
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")
#: A line break ends an FTP command, and the rest would be another one.
_FTP_CONTROL = re.compile(r"%(0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)
#: RFC 1738, section 3.2.2: text transfers change the bytes, and a listing is not a file.
_FTP_TYPE = re.compile(r";type=[ad]$", re.IGNORECASE)
#: RFC 3986, appendix B, for URLs with an authority. `urllib.parse.urlsplit` is not used for them: it
#: drops some characters, and its parts lose their spelling.
_ABSOLUTE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_REST = re.compile(r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?", re.DOTALL)
#: To a browser the backslash ends the authority; to other programs it is part of the user name.
_DOUBTFUL_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2,}[^/?#\\]*\\")
#: RFC 3986, sections 2.1 and 2.3.
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def check_url(text: str) -> str:
    """Return a valid URL as it is stored and sent.

    Its host is normalized (`domain.hosts`), and characters outside ASCII are percent-encoded UTF-8.
    Nothing else is changed, and a second call changes nothing.

    Raises:
        InvalidInputError: it is not valid for a download. The field is ``url``.
    """
    try:
        return _checked(text)
    except ValueError as error:
        raise InvalidInputError("url", display_url(text), str(error)) from None


def _checked(text: str) -> str:
    """Do `check_url`; raise ValueError with a sentence that gives the reason."""
    if _CONTROL_OR_SPACE.search(text):
        raise ValueError("Spaces and control characters must be percent-encoded.")
    parts = _UrlParts.of(_in_ascii(text))
    if parts.scheme.lower() in {"ftp", "ftps"}:
        _check_ftp(parts.path)
    url = str(parts)
    if len(url) > MAX_URL_OCTETS:
        raise ValueError(f"URLs may have at most {MAX_URL_OCTETS} octets.")
    return url


def resolve_location(base: str, location: str) -> str:
    """Return the target of a Location header in a response from `base`, as browsers resolve it.

    Args:
        base: a checked URL.
        location: the header's value, one character per octet. Servers send raw UTF-8 and other octets,
            spaces, tabs and backslashes.

    Raises:
        InvalidInputError: the target is not valid for a download.
    """
    # Octets of any charset are percent-encoded one by one; those of a host must be UTF-8.
    text = "".join(f"%{ord(char):02X}" if ord(char) > 0x7F else char for char in location)
    text = text.replace("\t", "").strip(" ").replace(" ", "%20")
    if _DOUBTFUL_AUTHORITY.match(text):
        raise InvalidInputError("url", display_url(text), "A host name has no '\\'.")
    try:
        target = urljoin(base, _with_slashes(text))
    except ValueError as error:
        raise InvalidInputError(
            "url", display_url(text), f"It cannot be parsed: {error}."
        ) from None
    return check_url(target)


def _with_slashes(reference: str) -> str:
    """Write a path's backslashes as slashes, as browsers do."""
    path = re.match("[^?#]*", reference)
    length = path.end() if path else 0
    return reference[:length].replace("\\", "/") + reference[length:]


@dataclass(frozen=True, slots=True)
class _UrlParts:
    """The parts of an absolute URL; `str` joins them."""

    scheme: str
    host: str
    port: int | None
    rest: str
    """Path, query and fragment, unchanged."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Split a URL; raise ValueError with a sentence when its scheme or form is not supported."""
        match = _ABSOLUTE.fullmatch(text)
        if match is None or match["scheme"].lower() not in SCHEMES:
            raise ValueError(f"It must begin with {_scheme_list()}.")
        if "@" in match["authority"]:
            raise ValueError(
                "User names and passwords in URLs are not accepted: give them as username and "
                "password (--user)."
            )
        host, port = _host_and_port(match["authority"])
        return cls(match["scheme"], normal_host(host), port, match["rest"])

    @property
    def path(self) -> str:
        return self._rest("path")

    @property
    def query(self) -> str:
        return self._rest("query")

    def _rest(self, name: str) -> str:
        match = _REST.fullmatch(self.rest)
        return (match and match[name]) or ""

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host_in_url(self.host)}{port}{self.rest}"


def _host_and_port(authority: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError(
            "It cannot be parsed: its host is followed by something that is no port, or is an IPv6 "
            "address without brackets."
        )
    if not match["host"]:
        raise ValueError("It has no host name.")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= MAX_PORT:
        raise ValueError(f"It cannot be parsed: a port is a number from 1 to {MAX_PORT}.")
    return match["host"], port


def _check_ftp(path: str) -> None:
    if _FTP_CONTROL.search(path):
        raise ValueError("A path on an FTP server has no control characters.")
    if not path.strip("/") or path.endswith("/") or _FTP_TYPE.search(path):
        raise ValueError("On an FTP server it must name a file, without ';type='.")


def host_of(url: str) -> str | None:
    """Return the normalized host of a URL; None without a valid one."""
    match = _ABSOLUTE.match(url)
    authority = _AUTHORITY.fullmatch(match["authority"].rpartition("@")[2]) if match else None
    if authority is None:
        return None
    with suppress(HostError):
        return normal_host(authority["host"])
    return None


def canonical_url(url: str) -> str:
    """Return the canonical form of a checked URL (RFC 3986, section 6.2).

    The scheme in lower case, the host normalized, no default port, no empty path, no dot segments, no
    fragment, percent-encodings in upper case and only where they are needed. Queries keep their order.
    """
    parts = _UrlParts.of(url)
    path = _without_dot_segments(_plain_encoding(parts.path)) or "/"
    query = f"?{_plain_encoding(parts.query)}" if parts.query else ""
    scheme = parts.scheme.lower()
    port = None if parts.port == DEFAULT_PORTS[scheme] else parts.port
    return str(replace(parts, scheme=scheme, port=port, rest=f"{path}{query}"))


def _plain_encoding(part: str) -> str:
    """Undo needless percent-encodings, and write the others in upper case."""

    def plain(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return char if _UNRESERVED.fullmatch(char) else match[0].upper()

    return _ENCODED.sub(plain, part)


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:  # never above the root, which the empty first one is
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")  # what they name is a folder
    return "/".join(kept)


def _in_ascii(text: str) -> str:
    """Percent-encode characters outside ASCII, as UTF-8."""
    if text.isascii():
        return text
    try:
        return "".join(char if char.isascii() else quote(char) for char in text)
    except UnicodeEncodeError:
        raise ValueError("It is not valid Unicode text.") from None


def _scheme_list() -> str:
    *others, last = (f"{scheme}://" for scheme in SCHEMES)
    return f"{', '.join(others)} or {last}"
