"""The header `traceparent` of W3C Trace Context: the check of what a caller sends."""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?",
    re.ASCII,
)
#: A later version may have more parts; no one needs so many.
_LONGEST = 256
_SAMPLED = 1


class TraceParent(NamedTuple):
    """The span of a caller.

    Attributes:
        trace_id: of its trace.
        span_id: of the span itself.
        is_sampled: whether the caller records it.
    """

    trace_id: int
    span_id: int
    is_sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.is_sampled):02x}"


def read_traceparent(text: str) -> TraceParent | None:
    """Return what a header names; None for one that is not valid, which is ignored, as W3C asks for."""
    match = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or match["version"] == "ff":
        return None
    if match["version"] == "00" and match["more"] is not None:
        return None
    trace_id, span_id = int(match["trace"], 16), int(match["span"], 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(match["flags"], 16) & _SAMPLED))
