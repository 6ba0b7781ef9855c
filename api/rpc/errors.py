"""Errors as aria2 has them: code 1 and a message; the codes of JSON-RPC for what is no call."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from api.problems import InvalidFieldsError, as_item, status_of
from domain.errors import AuthenticationError, SeenError, UnknownJobError

logger = logging.getLogger(__name__)

#: What aria2 has for all errors of its methods.
FAILED = 1
PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS = -32700, -32600, -32602


@dataclass
class RpcError(Exception):
    """Why a call was not done.

    Attributes:
        message: for people.
        code: as JSON-RPC has it.
        status: of HTTP, where the message has this call alone.
    """

    message: str
    code: int = FAILED
    status: int = 400

    def as_json(self) -> dict[str, Any]:
        """Return the error object."""
        return {"code": self.code, "message": self.message}


UNAUTHORIZED = RpcError("Unauthorized")


def from_seen(error: SeenError, what: str, gid: str = "") -> RpcError:
    """Return an error of this project in aria2's form.

    Args:
        error: the error.
        what: the method, for the log.
        gid: what the call named a download by.
    """
    if isinstance(error, AuthenticationError):
        return UNAUTHORIZED
    if isinstance(error, UnknownJobError):
        return RpcError(f"GID {gid} is not found")
    if isinstance(error, InvalidFieldsError):
        return RpcError(str(error))
    status = status_of(error)
    if status == 500:
        logger.error("The call of %s failed", what, exc_info=error)
    if status == 503:
        logger.warning("The call of %s was not done: %s", what, error)
    return RpcError(as_item(error)["detail"], status=status if status in {429, 500, 503} else 400)
