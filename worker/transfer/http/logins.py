"""Who asks for which login, from the challenges of a 401 or 407 (RFC 9110, section 11.6)."""

from __future__ import annotations

import re

#: What a challenge may hold between quotes; commas in it end nothing.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
#: A scheme stands at the start of a challenge; a parameter has an equals sign after its name.
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,29})(?=\s+[^\s=]|\s*$)")
_MAX_SCHEMES = 5
_MAX_SHOWN = 100

#: The forms of Digest that libcurl can answer (RFC 7616, section 3.3); without the parameter it is MD5.
_ALGORITHMS = re.compile(r"(?:md5|sha-256|sha-512-256)(?:-sess)?", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
#: What may be shown of a parameter: the rest could be a terminal's commands.
_NOT_SHOWN = re.compile(r"[^A-Za-z0-9 ,._-]")

#: What a login by name and password can answer.
SUPPORTED_SCHEMES = frozenset({"basic", "digest"})


def schemes(challenges: str) -> list[str]:
    """Return the authentication schemes that a field names, as spelt there, each once."""
    items = _QUOTED.sub('""', challenges).split(",")
    found = [match[1] for item in items if (match := _SCHEME.match(item))]
    return list(dict.fromkeys(found))[:_MAX_SCHEMES]


def wants_digest(challenges: str) -> bool:
    """Say whether a login is offered for by Digest and could not be given by Basic."""
    offered = {name.lower() for name in schemes(challenges)}
    return "digest" in offered and "basic" not in offered


def _unsupported_digest(challenges: str) -> str | None:
    """Return for what no challenge by Digest can be answered; None where one can."""
    parameters = _PARAMETER.findall(challenges)
    for name, is_known in (("algorithm", _ALGORITHMS.fullmatch), ("qop", _has_auth)):
        values = [quoted or plain for found, quoted, plain in parameters if found.lower() == name]
        if values and not any(map(is_known, values)):
            return f"Digest by {_NOT_SHOWN.sub('?', ', '.join(values))[:_MAX_SHOWN]}"
    return None


def _has_auth(qop: str) -> bool:
    return "auth" in {one.strip().lower() for one in qop.split(",")}


def explain_origin(challenges: str, *, has_credentials: bool) -> str:
    """Return what an origin asks for and what to do, as the end of a sentence and the next one."""
    offered = schemes(challenges)
    kinds = f" ({', '.join(offered)})" if offered else ""
    known = {name.lower() for name in offered}
    if "bearer" in known and not known & SUPPORTED_SCHEMES:
        return (
            f"it asks for a token{kinds}. Give one with --header 'Authorization: Bearer TOKEN' "
            "(`headers` in a request)."
        )
    if offered and not known & SUPPORTED_SCHEMES:
        return f"it asks for a login{kinds} that is not supported; Basic and Digest are."
    digest = _unsupported_digest(challenges) if wants_digest(challenges) else None
    if digest is not None:
        return f"it asks for a login ({digest}) that is not supported."
    if has_credentials:
        return f"it does not accept the login that was given{kinds}. Check its name and password."
    return f"it asks for a login{kinds}. Give one with --login NAME (`username` in a request)."


def explain_proxy(challenges: str, *, has_credentials: bool) -> str:
    """Return what the proxy asks for and what to do, as `explain_origin` does."""
    offered = schemes(challenges)
    kinds = f" ({', '.join(offered)})" if offered else ""
    if offered and not {name.lower() for name in offered} & SUPPORTED_SCHEMES:
        return f"it asks for a login{kinds} that is not supported; Basic and Digest are."
    if has_credentials:
        return f"it does not accept the login in SEEN_PROXY{kinds}. Check its name and password."
    return (
        f"it asks for a login{kinds}. Give one in SEEN_PROXY, as in http://NAME:PASSWORD@HOST:PORT."
    )
