"""From the text of a message to its answer: JSON-RPC 2.0 as aria2 speaks it."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.concurrency import run_in_threadpool

from api.rpc import parameters
from api.rpc.callers import Callers, require_token
from api.rpc.errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, RpcError, from_seen
from api.rpc.methods import METHODS, MULTICALL
from domain.access import require
from domain.errors import SeenError

logger = logging.getLogger(__name__)

#: Calls of one message, those of a batch and in `system.multicall` together.
MAX_CALLS = 1_000
_INVALID = RpcError("Invalid Request.", INVALID_REQUEST)
_UNREADABLE = RpcError("Parse error.", PARSE_ERROR)
_TOO_MANY = RpcError(f"A message has at most {MAX_CALLS:,} calls.", INVALID_REQUEST)
_INTERNAL = RpcError("The call failed because of an error in the service.", status=500)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message is answered with.

    Attributes:
        content: JSON.
        status: of HTTP.
    """

    content: bytes
    status: int = 200


async def answer_in_turn(message: str | bytes, callers: Callers) -> Answer:
    """Do what a message asks for in a thread, when few other messages are in hand."""
    async with callers.services.rpc_turns:
        return await run_in_threadpool(answer, message, callers)


def answer(message: str | bytes, callers: Callers) -> Answer:
    """Do what a message asks for: one call, or a list of them."""
    try:
        content = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return Answer(_encode(_error(None, _UNREADABLE)), _UNREADABLE.status)
    calls = content if isinstance(content, list) else [content]
    if sum(map(_calls_in, calls)) > MAX_CALLS:
        return Answer(_encode(_error(None, _TOO_MANY)), _TOO_MANY.status)
    if isinstance(content, list):
        # aria2 leaves out what is no struct.
        answers = [_answer_one(one, callers)[0] for one in content if isinstance(one, dict)]
        return Answer(_encode(answers))
    single, status = _answer_one(content, callers)
    return Answer(_encode(single), status)


def _calls_in(call: object) -> int:
    """Return how many calls are made by one."""
    if not isinstance(call, dict) or call.get("method") != MULTICALL:
        return 1
    params = call.get("params")
    inner = params[0] if isinstance(params, list) and params else None
    return 1 + len(inner) if isinstance(inner, list) else 1


def _answer_one(call: object, callers: Callers) -> tuple[dict[str, Any], int]:
    """Return the answer to a call, and its status."""
    if not isinstance(call, dict) or "id" not in call or not _is_id(call["id"]):
        return _error(None, _INVALID), _INVALID.status
    call_id, method = call["id"], call.get("method")
    if not isinstance(method, str):
        return _error(call_id, _INVALID), _INVALID.status
    params = call.get("params", [])
    if not isinstance(params, list):
        error = RpcError("Invalid params.", INVALID_PARAMS)
        return _error(call_id, error), error.status
    try:
        if method == MULTICALL:
            result: Any = _do_several(params, callers)
        else:
            result = _do(method, params, callers)
    except RpcError as error:
        return _error(call_id, error), error.status
    return {"id": call_id, "jsonrpc": "2.0", "result": result}, 200


def _is_id(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)  # 1e999 is JSON, and becomes Infinity, which is not
    return value is None or isinstance(value, str | int)


def _do_several(params: list[object], callers: Callers) -> list[Any]:
    """Do the calls of `system.multicall`: each result in a list, or an error."""
    (calls,) = parameters.read([METHODS[MULTICALL].parameters[0]], params)
    results: list[Any] = []
    for call in calls:
        try:
            results.append([_do_inner(call, callers)])
        except RpcError as error:
            results.append(error.as_json())
    return results


def _do_inner(call: object, callers: Callers) -> Any:
    if not isinstance(call, dict):
        raise RpcError("system.multicall expected struct.")
    method, params = call.get("methodName"), call.get("params", [])
    if not isinstance(method, str):
        raise RpcError("Missing methodName.")
    if method == MULTICALL:
        raise RpcError("Recursive system.multicall forbidden.")
    return _do(method, params if isinstance(params, list) else [], callers)


def _do(name: str, params: list[object], callers: Callers) -> Any:
    """Do one call, and return its result.

    Raises:
        RpcError: whatever went wrong, in aria2's form.
    """
    method = METHODS.get(name)
    if method is not None and method.scope is None:
        return method.handler(*parameters.read(method.parameters, callers.without_token(params)))
    caller, rest = callers.take(params)
    caller = require_token(caller)
    if method is None or method.scope is None:
        raise RpcError(f"No such method: {name[:100]}")
    try:
        require(caller.principal, method.scope)
        return method.handler(caller, *parameters.read(method.parameters, rest))
    except RpcError:
        raise
    except SeenError as error:
        raise from_seen(error, name, caller.gid) from None
    except Exception:
        logger.exception("The call of %s failed", name)
        raise _INTERNAL from None


def _error(call_id: object, error: RpcError) -> dict[str, Any]:
    return {"id": call_id, "jsonrpc": "2.0", "error": error.as_json()}


def _encode(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which are not JSON."""
    raise ValueError(name)
