"""Verify deliveries of webhooks, as Standard Webhooks has it (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from seen_client.decoding import decoded, json_of
from seen_client.errors import UnexpectedAnswerError, WebhookError
from seen_client.models import Download

_PREFIX = "whsec_"
#: Signatures of one delivery that are looked at; the service sends two while a secret is replaced.
_MOST = 20


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A genuine delivery.

    Attributes:
        id: the same for all deliveries of one end: remember it, since one may come twice.
        type: ``download.completed``, ``download.failed`` or ``download.cancelled``.
        timestamp: when the download ended.
        download: as it was then; None for a type that is not known.
    """

    id: str
    type: str
    timestamp: datetime
    download: Download | None


@dataclass(frozen=True, slots=True)
class _Body:
    type: str
    timestamp: datetime
    data: Mapping[str, object]


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    *,
    tolerance: float = 300.0,
    now: float | None = None,
) -> WebhookEvent:
    """Return a delivery if it is genuine.

    Args:
        body: as it was received, not decoded.
        headers: of the request, their names in any case.
        secrets: ``whsec_…``; several where receivers know an old and a new one.
        tolerance: seconds that the delivery may be old, or ahead of this clock.
        now: seconds since the epoch, instead of this clock.

    Raises:
        WebhookError: no secret has signed it, it is too old, or it is no delivery.
        ValueError: one of the secrets is none.
    """
    keys = [_key(one) for one in ((secrets,) if isinstance(secrets, str) else secrets)]
    message_id = _header(headers, "webhook-id", r"[!-~]{1,200}")
    timestamp = _header(headers, "webhook-timestamp", r"\d{1,12}")
    signatures = _header(headers, "webhook-signature", r"[ -~]{1,4096}").split(" ")[:_MOST]
    signed = f"{message_id}.{timestamp}.".encode() + body
    if not _has_signed(keys, signed, signatures):
        raise WebhookError("No secret of this receiver has signed this request.")
    if not abs((time.time() if now is None else now) - int(timestamp)) <= tolerance:
        raise WebhookError("The delivery is too old, or one of the clocks is wrong.")
    return _event(message_id, body)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("A secret of a webhook is whsec_ and base64.")
    return key


def _header(headers: Mapping[str, str], name: str, pattern: str) -> str:
    found = [value for key, value in headers.items() if key.lower() == name]
    if len(found) != 1 or not re.fullmatch(pattern, found[0], re.ASCII):
        raise WebhookError(f"The header {name} is missing, or not valid.")
    return found[0]


def _has_signed(keys: Sequence[bytes], signed: bytes, signatures: Iterable[str]) -> bool:
    """Return whether a signature is one of the keys'. Each is compared, in constant time."""
    expected = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    results = [
        hmac.compare_digest(b"v1," + one, signature.encode())
        for one in expected
        for signature in signatures
    ]
    return any(results)


def _event(message_id: str, body: bytes) -> WebhookEvent:
    try:
        content = decoded(_Body, json_of(body), "the delivery")
        is_known = content.type.startswith("download.")
        download = decoded(Download, content.data, "the delivery.data") if is_known else None
    except UnexpectedAnswerError as error:
        raise WebhookError(f"The delivery is signed, and not as documented: {error}") from None
    return WebhookEvent(message_id, content.type, content.timestamp, download)
