"""What an origin can do wrong, ready to be given as `respond=`; and how several are combined.

    origin.serve("/a.bin", size=1000, respond=misbehaviour.once(misbehaviour.status(503)))

Each function returns a `Respond`: it gets a request with the answer planned for it, and returns the
answer to send. What needs no code of its own is a plain field of `Behaviour`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from tests.support.origins.behaviour import Behaviour, Fault, Plan, Request, plan_error
from tests.support.origins.content import BytesContent, Content, GeneratedContent
from tests.support.origins.resource import ServedFile

Respond: TypeAlias = Callable[[Request, Plan], Plan]


def then(*steps: Respond) -> Respond:
    """One after the other, each gets what the one before it returned."""

    def respond(request: Request, plan: Plan) -> Plan:
        for step in steps:
            plan = step(request, plan)
        return plan

    return respond


def when(condition: Callable[[Request], bool], step: Respond) -> Respond:
    """Only for requests that fit; the others get an ordinary answer."""
    return lambda request, plan: step(request, plan) if condition(request) else plan


def once(step: Respond) -> Respond:
    """Only for the first request of the path."""
    return when(lambda request: request.number == 1, step)


def for_ranges(step: Respond) -> Respond:
    """Only for requests with a Range."""
    return when(lambda request: "range" in request.headers, step)


# ── ranges ──────────────────────────────────────────────────────────────────────────────────────


def content_range(said: Callable[[int, int, int], str] | None) -> Respond:
    """What a 206 says in its Content-Range, made from the true first, last and total; None: nothing."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status == 206:
            del plan.headers["Content-Range"]
            if said is not None:
                field = said(plan.start, plan.stop - 1, plan.content.size)
                plan.headers["Content-Range"] = field
        return plan

    return respond


def whole(plan: Plan) -> Plan:
    """Turn a range into the file from its first byte, with 200."""
    if plan.status != 206:
        return plan
    headers = {name: value for name, value in plan.headers.items() if name != "Content-Range"}
    if "Content-Length" in headers:
        headers["Content-Length"] = str(plan.content.size)
    return replace(plan, status=200, headers=headers, start=0, stop=plan.content.size)


def part_unasked(first: int, last: int) -> Respond:
    """A GET without Range gets a 206 with these bytes."""

    def respond(request: Request, plan: Plan) -> Plan:
        if "range" in request.headers or plan.status != 200:
            return plan
        plan.status, plan.start, plan.stop = 206, first, last + 1
        plan.headers["Content-Length"] = str(plan.length)
        plan.headers["Content-Range"] = f"bytes {first}-{last}/{plan.content.size}"
        return plan

    return respond


def says_ranges(text: str | None) -> Respond:
    """Accept-Ranges says this, whatever the origin really does; None leaves it out."""

    def respond(_request: Request, plan: Plan) -> Plan:
        plan.headers.pop("Accept-Ranges", None)
        if text is not None:
            plan.headers["Accept-Ranges"] = text
        return plan

    return respond


def longer_than_its_range(more: int) -> Respond:
    """A chunked 206 goes on for `more` bytes after the range it names."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status == 206:
            plan.stop = min(plan.content.size, plan.stop + more)
            plan.headers.pop("Content-Length", None)
            plan.headers["Transfer-Encoding"] = "chunked"
            plan.chunked = True
        return plan

    return respond


def shorter_than_its_range(less: int) -> Respond:
    """A 206 names the range that was asked for, and has a body that is shorter; its length is true."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status == 206 and plan.length > less:
            plan.stop -= less
            plan.headers["Content-Length"] = str(plan.length)
        return plan

    return respond


def shifted_range(by: int) -> Respond:
    """A range is answered with one that begins so many bytes later, and says so."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status == 206 and plan.length > by:
            plan.start += by
            plan.headers["Content-Length"] = str(plan.length)
            said = f"bytes {plan.start}-{plan.stop - 1}/{plan.content.size}"
            plan.headers["Content-Range"] = said
        return plan

    return respond


def several_parts() -> Respond:
    """A range is answered as multipart/byteranges with one part, as a client never asked for."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status != 206:
            return plan
        part = plan.content.slice(plan.start, plan.stop)
        said = plan.headers.pop("Content-Range")
        head = f"--b\r\nContent-Type: text/plain\r\nContent-Range: {said}\r\n\r\n".encode()
        return _with_body(plan, head + part + b"\r\n--b--\r\n", "multipart/byteranges; boundary=b")

    return respond


def unsatisfiable(said: str | None) -> Respond:
    """A range is answered with 416 and this Content-Range, or none."""

    def respond(_request: Request, _plan: Plan) -> Plan:
        plan = plan_error(416)
        if said is not None:
            plan.headers["Content-Range"] = said
        return plan

    return for_ranges(respond)


def only_by_date() -> Respond:
    """An If-Range with a tag is answered with 200, one with the right date is honoured."""

    def respond(request: Request, plan: Plan) -> Plan:
        condition = request.headers.get("if-range", "")
        return whole(plan) if condition.startswith('"') else plan

    return respond


def changes_after(requests: int, seed: str = "another", *, size: int | None = None) -> Respond:
    """After so many requests the file is another one, with another tag, and ranges of it are sent.

    If-Range is not looked at: a correct origin would send the new file whole.
    """

    def respond(request: Request, plan: Plan) -> Plan:
        if request.number <= requests or plan.status not in (200, 206):
            return plan
        before = plan.content.size
        plan.content = _changed(plan.content.size, seed, size)
        if plan.start >= plan.content.size:
            return _refused(416, {"Content-Range": f"bytes */{plan.content.size}"})
        ends_with_file = plan.stop == before
        plan.stop = plan.content.size if ends_with_file else min(plan.stop, plan.content.size)
        plan.headers["ETag"] = f'"{plan.content.identity[:32]}"'
        plan.headers["Content-Length"] = str(plan.length)
        if plan.status == 206:
            said = f"bytes {plan.start}-{plan.stop - 1}/{plan.content.size}"
            plan.headers["Content-Range"] = said
        return plan

    return respond


def changed_file(file: ServedFile, seed: str = "another", *, size: int | None = None) -> Content:
    """What `changes_after` serves in place of `file`."""
    return _changed(file.size, seed, size)


def _changed(before: int, seed: str, size: int | None) -> Content:
    return GeneratedContent(seed, before if size is None else size)


# ── lengths and versions ────────────────────────────────────────────────────────────────────────


def old_version() -> Respond:
    """HTTP/1.0, no ranges, no length: the end of the connection is the end of the body."""

    def respond(_request: Request, plan: Plan) -> Plan:
        plan = whole(plan)
        plan.version, plan.close = "HTTP/1.0", True
        for name in ("Content-Length", "Accept-Ranges", "ETag"):
            plan.headers.pop(name, None)
        return plan

    return respond


def status(code: int) -> Respond:
    """This status in place of the answer."""
    return lambda _request, _plan: plan_error(code)


# ── headers ─────────────────────────────────────────────────────────────────────────────────────


def big_header(size: int, fields: int = 1) -> Respond:
    """The header has `size` more bytes, in so many fields."""

    def respond(_request: Request, plan: Plan) -> Plan:
        for number in range(fields):
            plan.headers[f"X-Pad-{number}"] = "x" * (size // fields)
        return plan

    return respond


def endless_interim() -> Respond:
    """103 Early Hints, again and again, and never an answer."""

    def hints() -> Iterator[bytes]:
        for number in itertools.count():
            yield b"HTTP/1.1 103 Early Hints\r\nX-Number: %d\r\n\r\n" % number

    return lambda _request, plan: replace(plan, raw=hints())


def garbage(data: bytes = b"\x16\x03\x01 this is no HTTP\r\n\r\nnor is this\r\n") -> Respond:
    """These bytes in place of an answer."""
    return lambda _request, plan: replace(plan, raw=[data])


def nothing() -> Respond:
    """The connection is closed without an answer."""
    return lambda _request, plan: replace(plan, raw=[])


def stops_in_header(after: int = 0) -> Respond:
    """So many bytes of the header, and then nothing more."""
    return lambda _request, plan: replace(plan, head_stops=after)


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────


def hangs_from(offset: int) -> Respond:
    """The answer whose body has this byte of the file stops before it and keeps the connection."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status in (200, 206) and plan.start <= offset < plan.stop:
            plan.fault = Fault("hang", offset - plan.start)
        return plan

    return respond


def resets_every(size: int) -> Respond:
    """Every answer is reset after so many bytes, unless it is through by then."""

    def respond(_request: Request, plan: Plan) -> Plan:
        if plan.status in (200, 206) and plan.length > size:
            plan.fault = Fault("reset", size)
        return plan

    return respond


def repr_digest(**right: bool) -> Respond:
    """Repr-Digest with these algorithms, the digest right or wrong: ``sha_256=True``."""

    def respond(_request: Request, plan: Plan) -> Plan:
        content = plan.content
        data = content.slice(0, content.size)
        said = [
            f"{name.replace('_', '-')}=:{_digest(name.replace('_', ''), data, ok)}:"
            for name, ok in right.items()
        ]
        plan.headers["Repr-Digest"] = ", ".join(said)
        return plan

    return respond


def digest(*, right: bool = True) -> Respond:
    """The older Digest field with SHA-256."""

    def respond(_request: Request, plan: Plan) -> Plan:
        data = plan.content.slice(0, plan.content.size)
        plan.headers["Digest"] = f"SHA-256={_digest('sha256', data, right)}"
        return plan

    return respond


def content_md5(*, right: bool = True) -> Respond:
    """Content-MD5, which speaks of the body that is sent, so of a range where it is one."""

    def respond(_request: Request, plan: Plan) -> Plan:
        body = plan.content.slice(plan.start, plan.stop)
        plan.headers["Content-MD5"] = _digest("md5", body, right)
        return plan

    return respond


def _digest(algorithm: str, data: bytes, right: bool) -> str:
    made = hashlib.new(algorithm, data if right else data + b"!")
    return base64.b64encode(made.digest()).decode()


# ── who may have it ─────────────────────────────────────────────────────────────────────────────


def at_most(connections: int, status: int | None = 503) -> Respond:
    """More GETs than this at once are answered with `status`, or not at all where that is None."""

    def respond(request: Request, plan: Plan) -> Plan:
        if request.others < connections:
            return plan
        return replace(plan, raw=[]) if status is None else plan_error(status)

    return respond


def needs_login(user: str, password: str) -> Respond:
    """401 without Basic authorization."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return _needs("authorization", expected, 'Basic realm="test"')


def needs_header(name: str, value: str) -> Respond:
    """403 without this request header."""
    return _needs(name.lower(), value, None)


def _needs(name: str, value: str, challenge: str | None) -> Respond:
    def respond(request: Request, plan: Plan) -> Plan:
        if request.headers.get(name) == value:
            return plan
        return (
            plan_error(403) if challenge is None else _refused(401, {"WWW-Authenticate": challenge})
        )

    return respond


def _refused(status: int, headers: dict[str, str]) -> Plan:
    return plan_error(status, Behaviour(extra_headers=headers))


def _with_body(plan: Plan, body: bytes, content_type: str) -> Plan:
    headers = plan.headers | {"Content-Length": str(len(body)), "Content-Type": content_type}
    return replace(plan, headers=headers, content=BytesContent(body), start=0, stop=len(body))
