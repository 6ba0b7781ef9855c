"""`/jsonrpc` over HTTP: POST, and what browsers ask for before a page calls another origin (CORS).

There is no GET: tokens would be in addresses and logs, and any page could read what JSONP returns.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.authentication import client_address
from api.rpc.callers import Callers
from api.rpc.calls import answer_in_turn
from api.services import RPC_PATH, Services, TheServices

router = APIRouter(include_in_schema=False)

_MEDIA_TYPE = "application/json-rpc"
#: Seconds for which a browser need not ask again.
_MAX_AGE = "7200"


@router.post(RPC_PATH)
async def call(request: Request, services: TheServices) -> Response:
    """Do the calls of a body."""
    callers = Callers(services, client_address(request))
    found = await answer_in_turn(await request.body(), callers)
    return Response(
        found.content,
        status_code=found.status,
        media_type=_MEDIA_TYPE,
        headers=_cors(request, services),
    )


@router.options(RPC_PATH)
def preflight(request: Request, services: TheServices) -> Response:
    """Answer whether a page of another origin may call."""
    headers = _cors(request, services)
    if headers:
        headers |= {
            "Access-Control-Allow-Methods": "POST, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, X-Requested-With",
            "Access-Control-Max-Age": _MAX_AGE,
        }
    return Response(status_code=204, headers=headers)


def _cors(request: Request, services: Services) -> dict[str, str]:
    """Return the headers with which a page of a configured origin reads the answer."""
    origin = request.headers.get("origin")
    if origin is None or not services.allows_rpc_origin(origin):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
