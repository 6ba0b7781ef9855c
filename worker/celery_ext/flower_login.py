"""Flower's check of logins answers 401 to each wrong one; without this, 500 to one outside ASCII."""

from __future__ import annotations

from typing import Any

from flower.views import BaseHandler
from tornado.web import HTTPError

_flowers_check = BaseHandler.get_current_user


def install() -> None:
    """Replace Flower's check. Call it before Flower starts."""
    BaseHandler.get_current_user = _current_user


def _current_user(handler: Any) -> Any:
    try:
        return _flowers_check(handler)
    except TypeError:
        # `hmac.compare_digest` refuses to compare such characters, and no login has them.
        raise HTTPError(401) from None
