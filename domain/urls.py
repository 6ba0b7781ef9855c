"""URLs: validation, canonical form, and display without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Self
from urllib.parse import quote, unquote, urljoin

from domain.errors import InvalidInputError
from domain.hosts import HostError, host_in_url, normal_host, suggested_scheme

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
        _check_ftp(parts.path_and_query[0])
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
            raise ValueError(f"It must begin with {_scheme_list()}.{_suggestion(text)}")
        if "@" in match["authority"]:
            raise ValueError(
                "User names and passwords in URLs are not accepted: give them as username and "
                "password (--user)."
            )
        host, port = _host_and_port(match["authority"])
        return cls(match["scheme"], host, port, match["rest"])

    @property
    def path_and_query(self) -> tuple[str, str]:
        """Both without the characters that separate them; empty where there is none."""
        match = _REST.fullmatch(self.rest)
        return (match["path"], match["query"] or "") if match else ("", "")

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host_in_url(self.host)}{port}{self.rest}"


@lru_cache(maxsize=256)  # most URLs of a call have one of a few hosts
def _host_and_port(authority: str) -> tuple[str, int | None]:
    """Return the normalized host and the port; raise ValueError with a sentence."""
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
    return normal_host(match["host"]), port


def _check_ftp(path: str) -> None:
    if _FTP_CONTROL.search(path):
        raise ValueError("A path on an FTP server has no control characters.")
    if not path.strip("/") or path.endswith("/") or _FTP_TYPE.search(path):
        raise ValueError("On an FTP server it must name a file, without ';type='.")


def host_of(url: str) -> str | None:
    """Return the normalized host of a URL; None without a valid one."""
    match = _ABSOLUTE.match(url)
    return _host_in(match["authority"].rpartition("@")[2]) if match else None


@lru_cache(maxsize=256)
def _host_in(authority: str) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    with suppress(HostError):
        return normal_host(match["host"])
    return None


def canonical_url(url: str) -> str:
    """Return the canonical form of a checked URL (RFC 3986, section 6.2).

    The scheme in lower case, the host normalized, no default port, no empty path, no dot segments, no
    fragment, percent-encodings in upper case and only where they are needed. Queries keep their order.
    """
    parts = _UrlParts.of(url)
    path, query = map(_plain_encoding, parts.path_and_query)
    path = _without_dot_segments(path) or "/"
    scheme = parts.scheme.lower()
    port = None if parts.port == DEFAULT_PORTS[scheme] else parts.port
    return str(_UrlParts(scheme, parts.host, port, f"{path}?{query}" if query else path))


def _plain_encoding(part: str) -> str:
    """Undo needless percent-encodings, and write the others in upper case."""

    def plain(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return char if _UNRESERVED.fullmatch(char) else match[0].upper()

    return _ENCODED.sub(plain, part)


def _without_dot_segments(path: str) -> str:
    if "/." not in path:
        return path
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


def _suggestion(text: str) -> str:
    """Return a question: whether a URL was meant that only lacks its scheme; empty for other texts."""
    rest = text.removeprefix("//")
    scheme = suggested_scheme(re.split("[/?#]", rest, maxsplit=1)[0])
    with suppress(ValueError):
        return f" Did you mean {display_url(_checked(f'{scheme}://{rest}'))}?" if scheme else ""
    return ""


def _scheme_list() -> str:
    *others, last = (f"{scheme}://" for scheme in SCHEMES)
    return f"{', '.join(others)} or {last}"


# ── display ──────────────────────────────────────────────────────────────────────────────────────

#: Replaces what is not shown.
MASK = "…"

#: Words that make a parameter's name a secret's, wherever they stand: ``api_key``, ``X-Amz-Signature``.
_SECRET_WORDS = frozenset(
    {
        *("auth", "authorization", "bearer", "hmac", "jwt", "key", "otp", "pass", "passphrase"),
        *("policy", "pwd", "session", "sid", "sig", "sign", "ticket"),
    }
)
#: The same for names that are not written as separate words: ``accesstoken``, ``tempauth``.
_SECRET_STEMS = re.compile(
    r"token|secret|signature|passw|credential|accesskey|accessid|apikey|keypair|sessionid"
    r"|(?:key|auth|sig|jwt|sessid)$"
)
#: Whole names, without separators: signatures of nginx, Akamai, Discord, Bunny and Cloudflare, the keys
#: of Azure Functions, codes of OAuth.
_SECRET_NAMES = frozenset(
    {"code", "gda", "hash", "hdnea", "hdntl", "hdnts", "hm", "md5", "secure", "verify"}
)
#: Parameters of a signature that say how and when it was made. They are no secrets, and no help in
#: telling two jobs apart.
_SIGNING = re.compile(r"x-(?:amz|goog)-", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

#: A scheme and a host that cannot contain user info.
_SHOWN_HEAD = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:\[[^\[\]@]*\]|[^:\[\]/?#@\\]*)(?::[0-9]{0,5})?(?=[/?#]|$)"
)
_SCHEME_START = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?=[/\\]))?[/\\]*")
_SEGMENT = re.compile(r"[^/]+")
_PATH_PARAMETER = re.compile(r"(?<=[/;])[^/;=]+=[^/;]+")
_USER_INFO = re.compile(r"//[^/?#@:]*:[^/?#@]*@")
_JSON_WEB_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"'<>]+")

#: A parameter without value that is longer may be a token; a longer name may be one that ends in "=".
_LONGEST_FLAG, _LONGEST_NAME = 20, 40
_LONGEST_QUERY = 60
#: Names and values may be percent-encoded more than once, where one URL contains another.
_DECODINGS = 3


def display_url(text: str, *, secret: bool = False, whole: bool = False) -> str:
    """Return a URL as it is shown. It need not be valid. User name and password are never shown.

    Lists, messages and logs show it without fragment, and with the values of parameters masked that
    sign or authorize a request, or may do so by their name.

    Args:
        text: the URL.
        secret: its request marked it as secret: only scheme and host are shown, whatever `whole` says.
        whole: for its owner: nothing else is masked.
    """
    text = _without_user_info(text)
    if secret:
        head = _SHOWN_HEAD.match(text)
        return f"{head[0]}/{MASK}" if head else MASK
    if whole:
        return text
    path, mark, query = text.partition("#")[0].partition("?")
    return _masked_path(path) + mark + "".join(map(_masked, re.split("([?&;])", query)))


@lru_cache(maxsize=1024)  # displays of progress call it for each row and update
def distinguishing_query(url: str) -> str:
    """Return the parameters of a URL that distinguish jobs: those that `display_url` shows.

    Without the parameters that describe a signature, and in at most 60 characters: what is too long is
    left out of the middle.
    """
    query = url.partition("#")[0].partition("?")[2]
    pieces = [one for one in re.split("[?&;]", query) if one and not _SIGNING.match(one)]
    kept = "&".join(one for one in pieces if _masked(one) == one)
    return kept if len(kept) <= _LONGEST_QUERY else f"{kept[:30]}{MASK}{kept[-29:]}"


def mask_urls(text: str) -> str:
    """Return a text with each URL in it as `display_url` shows it."""
    if "://" not in text:
        return text
    return _URL_IN_TEXT.sub(lambda match: display_url(match[0]), text)


def _without_user_info(text: str) -> str:
    """Leave out user name and password; of a URL that cannot be parsed, all before its last ``@``."""
    if "@" not in text or _SHOWN_HEAD.match(text):
        return text
    scheme = _SCHEME_START.match(text)
    return (scheme[0] if scheme else "") + text.rpartition("@")[2]


def _masked_path(path: str) -> str:
    """Mask parameters in path segments, and segments that contain a token or a URL with secrets."""
    path = _USER_INFO.sub(f"//{MASK}@", path)
    path = _PATH_PARAMETER.sub(lambda match: _masked(match[0]), path)
    return _SEGMENT.sub(lambda match: MASK if _is_secret_segment(match[0]) else match[0], path)


def _is_secret_segment(segment: str) -> bool:
    is_encoded = "%" in segment and _has_secret(unquote(segment))
    return is_encoded or _JSON_WEB_TOKEN.search(segment) is not None


def _masked(parameter: str) -> str:
    """Return ``name=value`` with a secret value masked; a separator stays."""
    name, equals, value = parameter.partition("=")
    if len(name) > (_LONGEST_NAME if value.strip("=") else _LONGEST_FLAG):
        return MASK
    if value and (_is_secret_name(name) or _has_secret(value)):
        return f"{name}{equals}{MASK}"
    return parameter


def _is_secret_name(encoded: str) -> bool:
    name = list(_decodings(encoded))[-1]
    compact = re.sub("[^a-z0-9]", "", name.lower())
    words = {word.lower() for word in _WORD.findall(name)}
    return (
        bool(words & _SECRET_WORDS)
        or compact in _SECRET_NAMES
        or _SECRET_STEMS.search(compact) is not None
    )


def _has_secret(value: str) -> bool:
    """Return whether a value contains a secret parameter, user info, or a JSON Web Token."""
    for text in _decodings(value):
        if _USER_INFO.search(text) or _JSON_WEB_TOKEN.search(text):
            return True
        for piece in re.split("[?&;#/]", text):
            name, _, inner = piece.partition("=")
            if inner and _is_secret_name(name):
                return True
    return False


def _decodings(text: str) -> Iterator[str]:
    yield text
    for _ in range(_DECODINGS):
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded
        yield text
