"""Secrets in text that is logged: replaced wherever they may stand, in texts of any origin.

Messages of drivers and libraries repeat what they were given: a connection string, a header, a URL.
"""

from __future__ import annotations

import re

from domain.urls import MASK, mask_urls

#: Secrets that are known by their form: API keys, sessions and sign-in links of this service
#: (`tasks.api.accounts.tokens`), secrets of webhooks, JSON Web Tokens.
_KNOWN = re.compile(
    r"(?P<start>seen_(?:session|link|[a-z0-9]{8})_)[A-Za-z0-9]{20,}"
    r"|(?P<webhook>whsec_)[A-Za-z0-9+/=_-]{8,}"
    r"|(?<![\w-])eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"
)
#: What stands behind a scheme of HTTP's authentication.
_CREDENTIALS = re.compile(
    r"\b(?P<scheme>Bearer|Basic)(?P<mark>[ \t]+)(?=[^\s'\"]*[0-9=])[^\s'\",]{8,}", re.IGNORECASE
)
#: Text in quotes up to the same quote, or to the end of the line.
_QUOTED_OR_LINE = r"(?(quote)(?:(?!(?P=quote)).)*|[^\r\n]+)"
#: A header with a secret, in any spelling of a header: ``Name: value``, ``"name": "value"``, a pair.
_HEADER = re.compile(
    r"(?P<name>\b(?:(?:proxy-)?authorization|(?:set-)?cookie2?|x-(?:api|auth|csrf)-(?:key|token)))"
    r"(?P<mark>['\"]?\s*[:=]\s*b?(?P<quote>['\"])?|['\"]\s*,\s*b?(?P<second>['\"]))"
    r"(?:(?(second)(?:(?!(?P=second)).)*|" + _QUOTED_OR_LINE + r"))",
    re.IGNORECASE,
)
#: ``name=value`` and ``"name": "value"`` where the name is that of a secret.
_NAMED = re.compile(
    r"(?P<name>(?<![\w.-])[\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret(?:_?key)?|token|signature"
    r"|(?:api|access|private)[_-]?key|credentials?))"
    r"(?P<mark>['\"]?\s*[=:]\s*b?(?P<quote>['\"])?)"
    r"(?(quote)(?:(?!(?P=quote)).)*|[^\s,;&'\")\]}]+)",
    re.IGNORECASE,
)
#: Any of these is in a text with something for the expressions above; others are left alone at once.
_HINTS = re.compile(
    r"seen_|whsec_|eyJ|bearer|basic|token|auth|cookie|pass|pwd|secret|key|cred|sign", re.IGNORECASE
)


def mask_secrets(text: str) -> str:
    """Return a text without the secrets in it; URLs in it are as `display_url` shows them."""
    text = mask_urls(text)
    if not _HINTS.search(text):
        return text
    text = _KNOWN.sub(lambda match: f"{match['start'] or match['webhook'] or ''}{MASK}", text)
    text = _HEADER.sub(lambda match: f"{match['name']}{match['mark']}{MASK}", text)
    text = _CREDENTIALS.sub(lambda match: f"{match['scheme']}{match['mark']}{MASK}", text)
    return _NAMED.sub(lambda match: f"{match['name']}{match['mark']}{MASK}", text)
