"""URLs: which ones we accept, and how one is shown without its secrets."""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from domain.errors import InvalidInputError

#: RFC 9110, section 4.1, asks every party to support at least 8000 octets; we take no more than that.
MAX_URL_OCTETS = 8000

SCHEMES = ("http", "https")


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
            "url", display_url(text), "User names and passwords in URLs are not accepted."
        )
    return text if text.isascii() else _in_ascii(text, parts)


def host_of(url: str) -> str:
    """Return the host of a checked URL, in lower case and without port: what its limits go by."""
    return (urlsplit(url).hostname or "").rstrip(".")


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
    return " or ".join(f"{scheme}://" for scheme in SCHEMES)


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
