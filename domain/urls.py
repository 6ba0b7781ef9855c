"""URLs: which ones we accept, and how one is shown without its secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from domain.errors import InvalidInputError
from domain.limits import plain_host

#: RFC 9110, section 4.1, asks every party to support at least 8000 octets; we take no more than that.
MAX_URL_OCTETS = 8000

#: RFC 1035, section 2.3.4, as text.
MAX_HOST = 253

SCHEMES = ("http", "https", "ftp", "ftps")
DEFAULT_PORTS: Mapping[str, int] = MappingProxyType(
    {"http": 80, "https": 443, "ftp": 21, "ftps": 990}
)
#: A line break ends an FTP command, and what follows would be another one.
_FTP_CONTROL = re.compile(r"%(0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)
#: RFC 1738, section 3.2.2: text is rewritten on its way, and a listing is no file.
_FTP_TYPE = re.compile(r";type=[ad]$", re.IGNORECASE)
#: RFC 3986, sections 2.1 and 2.3.
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def check_url(text: str) -> str:
    """Return the URL if it is one we can download from, else raise InvalidInputError("url", …).

    What is not ASCII is encoded as the standards say (IDNA, percent-encoded UTF-8).
    """
    if _octets(text) > MAX_URL_OCTETS:
        raise InvalidInputError(
            "url", display_url(text), f"URLs may have at most {MAX_URL_OCTETS} octets."
        )
    if any(ord(char) <= 0x20 or ord(char) == 0x7F for char in text):
        raise InvalidInputError(
            "url", display_url(text), "Spaces and control characters must be percent-encoded."
        )
    parts = _split(text)
    if parts.scheme.lower() not in SCHEMES:
        raise InvalidInputError("url", display_url(text), f"It must begin with {_scheme_list()}.")
    if not parts.hostname:
        raise InvalidInputError("url", display_url(text), "It has no host name.")
    if parts.username is not None or parts.password is not None:
        raise InvalidInputError(
            "url",
            display_url(text),
            "User names and passwords in URLs are not accepted: give them as username and password "
            "(--login).",
        )
    if parts.scheme.lower() in {"ftp", "ftps"}:
        _check_ftp(text, parts)
    usable = text if text.isascii() else _in_ascii(text, parts)
    if len(urlsplit(usable).hostname or "") > MAX_HOST:
        raise InvalidInputError(
            "url", display_url(text), f"A host name has at most {MAX_HOST} characters."
        )
    return usable


def _check_ftp(text: str, parts: SplitResult) -> None:
    if _FTP_CONTROL.search(parts.path):
        raise InvalidInputError(
            "url", display_url(text), "A path on an FTP server has no control characters."
        )
    if not parts.path.strip("/") or parts.path.endswith("/") or _FTP_TYPE.search(parts.path):
        raise InvalidInputError(
            "url", display_url(text), "On an FTP server it must name a file, without ';type='."
        )


def host_of(url: str) -> str | None:
    """Return the host that a URL speaks to, for limits and filters; None when it names none.

    As limits write it: in lower case, without port, brackets, and the root's dot.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return plain_host(host) if host else None


def canonical_url(url: str) -> str:
    """Return the one form of a checked URL that all its spellings share (RFC 3986, section 6.2).

    Scheme and host in lower case, no default port, no root's dot, no empty path, no dot segments, no
    fragment, percent-encodings in upper case and only where they are needed. Queries keep their order.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").removesuffix(".")
    shown = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, DEFAULT_PORTS[scheme]} else f":{parts.port}"
    path = _without_dot_segments(_plain_encoding(parts.path)) or "/"
    return urlunsplit((scheme, f"{shown}{port}", path, _plain_encoding(parts.query), ""))


def _plain_encoding(part: str) -> str:
    """Undo percent-encodings that change nothing, and write the others in upper case."""

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


def _in_ascii(text: str, parts: SplitResult) -> str:
    """Return a URL as people write it in the form that travels: IDNA host, percent-encoded rest."""
    try:
        host = (parts.hostname or "").encode("idna").decode()
    except UnicodeError as error:
        raise InvalidInputError(
            "url", display_url(text), f"Its host name cannot be written in IDNA: {error}."
        ) from error
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    path, query, fragment = map(_percent_encode, (parts.path, parts.query, parts.fragment))
    return urlunsplit((parts.scheme, netloc, path, query, fragment))


def _percent_encode(part: str) -> str:
    return "".join(char if char.isascii() else quote(char) for char in part)


def _octets(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            "url", display_url(text), "It is not valid Unicode text."
        ) from error


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed lazily; raises when it is not a port
    except ValueError as error:
        raise InvalidInputError(
            "url", display_url(text), f"It cannot be parsed: {error}."
        ) from error
    return parts


def _scheme_list() -> str:
    *others, last = (f"{scheme}://" for scheme in SCHEMES)
    return f"{', '.join(others)} or {last}"


def display_url(text: str) -> str:
    """Return the URL as it may be shown: without user info, the query masked, the fragment dropped."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "(unreadable URL)"
    host = parts.netloc.rpartition("@")[2]
    query = "?…" if parts.query else ""
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    # Without "//" the user info of a URL that is not one lies in the path.
    path = parts.path if parts.netloc else parts.path.rpartition("@")[2]
    return f"{scheme}{host}{path}{query}"
