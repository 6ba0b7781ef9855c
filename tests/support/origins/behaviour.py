"""How one resource of the test origin behaves, and the answer it plans to a request."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import Literal

from tests.support.origins.content import BytesContent, Content

AUTOMATIC = "(automatic)"
Headers = dict[str, str]
FaultKind = Literal["truncate", "reset", "hang"]


@dataclass(frozen=True)
class Behaviour:
    """What an origin does with one resource. The defaults are those of a correct origin."""

    etag: str | None = AUTOMATIC
    """The ETag field as sent, quotes included; automatic is a strong one made from the content."""
    last_modified: str | None = None
    """The Last-Modified field as sent."""
    ranges: bool = True
    """False: `Accept-Ranges: none`, and every GET gets the whole body with 200."""
    honour_if_range: bool = True
    """False: If-Range is not looked at, so a range of a changed resource is sent as asked."""
    statuses: list[int] = field(default_factory=list)
    """Statuses for the next requests, one each, then as usual. 200 is an ordinary answer."""
    status: int | None = None
    """The status of every answer, with a line of text as its body. 200 is an ordinary answer."""
    retry_after: str | None = None
    """The Retry-After field of the answers made by `status` and `statuses`."""
    content_type: str | None = "application/octet-stream"
    """The Content-Type field."""
    content_disposition: str | None = None
    """The Content-Disposition field as sent."""
    content_encoding: str | None = None
    """The Content-Encoding field. The body is sent as it was given: encode it yourself."""
    send_length: bool = True
    """False: no Content-Length; the end of the connection ends the body."""
    chunked: bool = False
    """True: `Transfer-Encoding: chunked` instead of a length."""
    truncate_after: int | None = None
    """Close cleanly after so many body bytes of a response that promised more."""
    reset_after: int | None = None
    """The same with a TCP reset; the client's system has the bytes before it."""
    hang_after: int | None = None
    """Send nothing more after so many body bytes, until the client leaves or the origin closes."""
    faults: int | None = None
    """How many responses the three above happen to; None is all of them."""
    delay: float = 0.0
    """Seconds before the status line."""
    bytes_per_second: int | None = None
    """The pace of the body, in small slices."""
    redirect: str | None = None
    """A Location to send with 302, or with `status` when that is set."""
    wrong_content_range: bool = False
    """True: the Content-Range of a 206 names a range one byte further on than the body's."""
    lie_length: int | None = None
    """How many bytes Content-Length is off by; the connection closes after the body."""
    extra_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """More header fields; they replace the origin's own ones of the same name."""
    gate: threading.Event | None = None
    """The body stops after `gate_after` bytes until this is set."""
    gate_after: int = 0
    """Body bytes sent before the gate; 0 is right after the header."""
    respond: Callable[[Request, Plan], Plan] | None = None
    """Has the last word on every answer: gets the planned one and returns the one to send, the same
    one changed or another. `tests.support.origins.misbehaviour` has ready-made ones."""


@dataclass(frozen=True)
class Request:
    """One request head; the names of `headers` are in lower case.

    `number` counts the requests for its path, from 1 on. `others` is how many GETs for it were being
    answered when it came.
    """

    method: str
    target: str
    version: str
    headers: Headers
    number: int = 1
    others: int = 0

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the "?", or nothing."""
        return self.target.partition("?")[2]

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request."""
        return self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True)
class Fault:
    """The end of a response that never gets to its end: what happens after how many bytes."""

    kind: FaultKind
    after: int


@dataclass
class Plan:
    """An answer to send: the head, and the bytes of `content` from `start` to `stop`.

    `head_stops` sends only so many bytes of the head, and then nothing until the client leaves. `raw`
    is sent in place of head and body, for as long as the client takes it; then the connection closes.
    `bytes_per_second` is a pace of this one answer.
    """

    status: int
    headers: Headers
    content: Content
    start: int = 0
    stop: int = 0
    chunked: bool = False
    close: bool = False
    fault: Fault | None = None
    version: str = "HTTP/1.1"
    head_stops: int | None = None
    raw: Iterable[bytes] | None = None
    bytes_per_second: int | None = None

    @property
    def length(self) -> int:
        """The number of body bytes planned."""
        return self.stop - self.start

    def head(self) -> bytes:
        """The status line and the header."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        fields = {"Date": formatdate(usegmt=True)} | self.headers
        if self.close:
            fields = {"Connection": "close"} | fields
        lines = [
            f"{self.version} {self.status} {phrase}",
            *(f"{k}: {v}" for k, v in fields.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parse_range(value: str | None) -> tuple[int, int | None] | None:
    """Read a Range field with one range: (first, last), (first, None), or (-n, None) for a suffix.

    None stands for no range, and for one that a server has to ignore (RFC 9110, 14.2).
    """
    match = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", value or "", re.IGNORECASE)
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        return (-int(last), None) if int(last) else (0, -1)
    if last and int(last) < int(first):
        return None
    return int(first), int(last) if last else None


def plan_error(status: int, behaviour: Behaviour | None = None) -> Plan:
    """An answer that is not the resource: a redirect, a forced status, a 404."""
    text = b"" if status < 200 or status in (204, 304) else f"origin says {status}\n".encode()
    headers: Headers = {"Content-Length": str(len(text)), "Content-Type": "text/plain"}
    if behaviour is not None and behaviour.redirect is not None:
        headers["Location"] = behaviour.redirect
    if behaviour is not None and behaviour.retry_after is not None:
        headers["Retry-After"] = behaviour.retry_after
    if status in (204, 304):
        headers = {name: value for name, value in headers.items() if "Content" not in name}
    plan = Plan(status, headers, BytesContent(text), 0, len(text))
    return _with_extra(plan, behaviour) if behaviour else plan


def plan_resource(request: Request, content: Content, behaviour: Behaviour) -> Plan:
    """The ordinary answer: 200, 206 or 416, with the header `behaviour` asks for."""
    plan = Plan(200, {}, content, 0, content.size)
    asked = _range_to_serve(request, content, behaviour)
    if asked is not None:
        plan.start, plan.stop = _resolve(asked, content.size)
        plan.status = 206 if plan.start < plan.stop else 416
    plan.headers = _describe(plan, content, behaviour)
    _frame(plan, behaviour)
    return _with_extra(plan, behaviour)


def etag_of(content: Content, behaviour: Behaviour) -> str | None:
    """The ETag field in force, or None."""
    return f'"{content.identity[:32]}"' if behaviour.etag == AUTOMATIC else behaviour.etag


def _range_to_serve(
    request: Request, content: Content, behaviour: Behaviour
) -> tuple[int, int | None] | None:
    """The range to answer with, or None for the whole; only GET knows ranges."""
    if request.method != "GET" or not behaviour.ranges:
        return None
    condition = request.headers.get("if-range")
    if condition and behaviour.honour_if_range and not _matches(condition, content, behaviour):
        return None
    asked = parse_range(request.headers.get("range"))
    # A suffix of an empty resource is all of it, and 206 cannot say "no bytes".
    return None if asked and asked[0] < 0 and content.size == 0 else asked


def _matches(condition: str, content: Content, behaviour: Behaviour) -> bool:
    """If-Range compares strongly: a weak tag never matches, a date only exactly."""
    if condition.startswith('"'):
        return condition == etag_of(content, behaviour)
    return not condition.startswith("W/") and condition == behaviour.last_modified


def _resolve(asked: tuple[int, int | None], size: int) -> tuple[int, int]:
    """The half-open part of `size` bytes that a range means; empty when it means none."""
    first, last = asked
    if first < 0:
        return max(0, size + first), size
    stop = size if last is None else min(size, last + 1)
    return (first, stop) if first < stop else (0, 0)


def _describe(plan: Plan, content: Content, behaviour: Behaviour) -> Headers:
    """The fields that say what the body is."""
    shift = 1 if behaviour.wrong_content_range else 0
    part = f"{plan.start + shift}-{plan.stop - 1 + shift}"
    fields: dict[str, str | None] = {
        "Accept-Ranges": "bytes" if behaviour.ranges else "none",
        "ETag": etag_of(content, behaviour),
        "Last-Modified": behaviour.last_modified,
        "Content-Type": behaviour.content_type,
        "Content-Disposition": behaviour.content_disposition,
        "Content-Encoding": behaviour.content_encoding,
    }
    if plan.status == 206:
        fields["Content-Range"] = f"bytes {part}/{content.size}"
    if plan.status == 416:
        fields["Content-Range"] = f"bytes */{content.size}"
    return {name: value for name, value in fields.items() if value is not None}


def _frame(plan: Plan, behaviour: Behaviour) -> None:
    """Decide how the client learns where the body ends."""
    if behaviour.chunked:
        plan.chunked = True
        plan.headers["Transfer-Encoding"] = "chunked"
    elif not behaviour.send_length:
        plan.close = True
    else:
        lie = behaviour.lie_length or 0
        plan.headers["Content-Length"] = str(max(0, plan.length + lie))
        plan.close = lie != 0


def _with_extra(plan: Plan, behaviour: Behaviour) -> Plan:
    replaced = {name.lower() for name in behaviour.extra_headers}
    kept = {name: value for name, value in plan.headers.items() if name.lower() not in replaced}
    plan.headers = kept | dict(behaviour.extra_headers)
    return plan
