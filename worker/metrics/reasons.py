"""Error codes as values of a label: few, whatever an origin answers."""

from __future__ import annotations

import re
from http import HTTPStatus

_STATUSES = frozenset(f"http_{one.value}" for one in HTTPStatus)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def bounded_reason(code: str | None) -> str:
    """Return a code as it is if the code names it, a class such as ``http_5xx``, or ``other``.

    An origin may send any status; of those that HTTP does not name, only the class is kept.
    """
    text = code or ""
    if re.fullmatch(r"http_\d{3,}", text) and text not in _STATUSES:
        return f"{text[:6]}xx"
    return text if not text or _CODE.fullmatch(text) else "other"
