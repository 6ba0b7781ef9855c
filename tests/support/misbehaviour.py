"""Ready-made answers of origins that are up to something, for `Behaviour.respond`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate

from tests.support.origin_behaviour import Plan, Request, Respond
from tests.support.origin_content import BytesContent

OLD_DATE = formatdate(1_000_000_000, usegmt=True)


def fields(**changes: str | None) -> Respond:
    """Set header fields (written with _ for -), or take them away (None)."""

    def respond(_request: Request, plan: Plan) -> Plan:
        for name, value in changes.items():
            wanted = name.replace("_", "-").lower()
            plan.headers = {k: v for k, v in plan.headers.items() if k.lower() != wanted}
            if value is not None:
                plan.headers[wanted] = value
        return plan

    return respond


def only_parts(change: Respond) -> Respond:
    """Misbehave in answers to a range, and nowhere else."""

    def respond(request: Request, plan: Plan) -> Plan:
        return change(request, plan) if plan.status == 206 else plan

    return respond


def content_range(text: Callable[[Plan], str]) -> Respond:
    """Send another Content-Range with a part than is true."""

    def respond(request: Request, plan: Plan) -> Plan:
        return fields(content_range=text(plan))(request, plan)

    return only_parts(respond)


def raw(data: bytes) -> Respond:
    """Send these bytes, whatever was asked, and close."""

    def respond(_request: Request, plan: Plan) -> Plan:
        return replace(plan, raw=data)

    return respond


def longer_part(by: int) -> Respond:
    """Send more bytes than the Content-Range says, chunked, so that no length contradicts them."""

    def respond(_request: Request, plan: Plan) -> Plan:
        plan.headers = {k: v for k, v in plan.headers.items() if k != "Content-Length"}
        plan.headers["Transfer-Encoding"] = "chunked"
        body = plan.content.slice(plan.start, plan.stop) + b"!" * by
        return replace(
            plan, content=BytesContent(body), start=0, stop=len(body), chunked=True, fault=None
        )

    return only_parts(respond)


def dates_only(request: Request, plan: Plan) -> Plan:
    """Answer an If-Range that carries an entity tag with the whole file, and honour dates."""
    if plan.status == 206 and request.headers.get("if-range", "").startswith('"'):
        size = plan.content.size
        headers = {k: v for k, v in plan.headers.items() if k != "Content-Range"}
        return replace(
            plan, status=200, start=0, stop=size, headers={**headers, "Content-Length": str(size)}
        )
    return plan


def login(header: str, value: str) -> Respond:
    """Answer 401 to whoever does not send this header."""

    def respond(request: Request, plan: Plan) -> Plan:
        if request.headers.get(header) == value:
            return plan
        text = b"who are you?"
        return Plan(401, {"Content-Length": str(len(text))}, BytesContent(text), 0, len(text))

    return respond
