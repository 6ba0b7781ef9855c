"""Which login a 401 or 407 requires, by its challenges (RFC 9110, section 11.6)."""

from __future__ import annotations

import re

#: A quoted string in a challenge; its commas do not separate challenges.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
#: A challenge starts with its scheme; a parameter's name is followed by an equals sign instead.
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,29})(?=\s+[^\s=]|\s*$)")
_MAX_SCHEMES = 5
_MAX_SHOWN = 100

#: The Digest algorithms that libcurl supports (RFC 7616, section 3.3); the default is MD5.
_ALGORITHMS = re.compile(r"(?:md5|sha-256|sha-512-256)(?:-sess)?", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
#: Characters of a parameter that are not shown: they could be terminal control sequences.
_NOT_SHOWN = re.compile(r"[^A-Za-z0-9 ,._-]")

#: The schemes that a login by name and password can use.
SUPPORTED_SCHEMES = frozenset({"basic", "digest"})


def schemes(challenges: str) -> list[str]:
    """Return the authentication schemes in a header field, as spelt there, each once."""
    items = _QUOTED.sub('""', challenges).split(",")
    found = [match[1] for item in items if (match := _SCHEME.match(item))]
    return list(dict.fromkeys(found))[:_MAX_SCHEMES]


def wants_digest(challenges: str) -> bool:
    """Return whether the challenges include Digest and not Basic."""
    offered = {name.lower() for name in schemes(challenges)}
    return "digest" in offered and "basic" not in offered


def _unsupported_digest(challenges: str) -> str | None:
    """Return the Digest parameters that libcurl does not support; None if one challenge is fine."""
    parameters = _PARAMETER.findall(challenges)
    for name, is_supported in (("algorithm", _ALGORITHMS.fullmatch), ("qop", _has_auth)):
        values = [quoted or plain for found, quoted, plain in parameters if found.lower() == name]
        if values and not any(map(is_supported, values)):
            return f"Digest by {_NOT_SHOWN.sub('?', ', '.join(values))[:_MAX_SHOWN]}"
    return None


def _has_auth(qop: str) -> bool:
    return "auth" in {one.strip().lower() for one in qop.split(",")}


def explain_origin(challenges: str, *, has_credentials: bool) -> str:
    """Return what login the origin requires and what to do, as the end of a sentence."""
    offered = schemes(challenges)
    kinds = f" ({', '.join(offered)})" if offered else ""
    known = {name.lower() for name in offered}
    if "bearer" in known and not known & SUPPORTED_SCHEMES:
        return (
            f"it requires a token{kinds}. Give one with --header 'Authorization: Bearer TOKEN' "
            "(`headers` in a request)."
        )
    if offered and not known & SUPPORTED_SCHEMES:
        return f"it requires a login{kinds} that is not supported; Basic and Digest are."
    digest = _unsupported_digest(challenges) if wants_digest(challenges) else None
    if digest is not None:
        return f"it requires a login ({digest}) that is not supported."
    if has_credentials:
        return f"it does not accept the given login{kinds}. Check its name and password."
    return f"it requires a login{kinds}. Give one with --user NAME (`username` in a request)."


def explain_proxy(challenges: str, *, has_credentials: bool) -> str:
    """Return what login the proxy requires and what to do, as the end of a sentence."""
    offered = schemes(challenges)
    kinds = f" ({', '.join(offered)})" if offered else ""
    if offered and not {name.lower() for name in offered} & SUPPORTED_SCHEMES:
        return f"it requires a login{kinds} that is not supported; Basic and Digest are."
    if has_credentials:
        return f"it does not accept the login in SEEN_PROXY{kinds}. Check its name and password."
    return (
        f"it requires a login{kinds}. Give one in SEEN_PROXY, as in http://NAME:PASSWORD@HOST:PORT."
    )
