"""URLs as they are shown: whole to their owner, without secrets in lists, messages and logs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

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
_HEAD = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:\[[^\[\]@]*\]|[^:\[\]/?#@\\]*)(?::[0-9]{0,5})?(?=[/?#]|$)"
)
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?=[/\\]))?[/\\]*")
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
        head = _HEAD.match(text)
        return f"{head[0]}/{MASK}" if head else MASK
    if whole:
        return text
    path, mark, query = text.partition("#")[0].partition("?")
    return _masked_path(path) + mark + "".join(map(_masked, re.split("([?&;])", query)))


@lru_cache(maxsize=1024)  # displays of progress call it for each row and update
def distinguishing_query(url: str) -> str:
    """Return the parameters of a URL by which people tell jobs apart: those that `display_url` shows.

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
    if "@" not in text or _HEAD.match(text):
        return text
    scheme = _SCHEME.match(text)
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
