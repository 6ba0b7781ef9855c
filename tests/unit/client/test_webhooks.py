"""`verify_webhook` accepts what the service signs, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from seen_client import Status, WebhookError, verify_webhook
from tests.support.clients.samples import ID, download_json
from worker.webhooks.signatures import new_secret, signed_headers

NOW = 1_800_000_000
SECRET, OTHER = new_secret(), new_secret()
CONTENT = {
    "type": "download.completed",
    "timestamp": "2026-05-01T10:00:00+00:00",
    "data": download_json(status="completed"),
}
BODY = json.dumps(CONTENT).encode()
HEADERS = signed_headers([SECRET], "msg_1", NOW, BODY)


def test_a_genuine_delivery() -> None:
    event = verify_webhook(BODY, HEADERS, SECRET, now=NOW)
    assert (event.id, event.type) == ("msg_1", "download.completed")
    assert event.timestamp == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert event.download is not None
    assert (event.download.id, event.download.status) == (ID, Status.COMPLETED)


def test_the_clock_of_now_is_used() -> None:
    with pytest.raises(WebhookError, match="old"):
        verify_webhook(BODY, signed_headers([SECRET], "m", 1_000_000, BODY), SECRET)


GENUINE: dict[str, tuple[dict[str, str], str | list[str]]] = {
    "names in any case": ({name.title(): value for name, value in HEADERS.items()}, SECRET),
    "other headers": ({**HEADERS, "host": "a", "x": "\x00"}, SECRET),
    "a secret without its prefix": (HEADERS, SECRET.removeprefix("whsec_")),
    "the receiver knows two secrets": (HEADERS, [OTHER, SECRET]),
    "two secrets sign": (signed_headers([OTHER, SECRET], "m", NOW, BODY), SECRET),
    "the former one of two": (signed_headers([SECRET, OTHER], "m", NOW, BODY), OTHER),
    "another version, too": (
        {**HEADERS, "webhook-signature": f"v1a,abc  x {HEADERS['webhook-signature']}"},
        SECRET,
    ),
    "five minutes old": (signed_headers([SECRET], "m", NOW - 300, BODY), SECRET),
    "five minutes ahead": (signed_headers([SECRET], "m", NOW + 300, BODY), SECRET),
}


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_ones(name: str) -> None:
    headers, secrets = GENUINE[name]
    assert verify_webhook(BODY, headers, secrets, now=NOW).download is not None


def _with(name: str, value: str | None) -> dict[str, str]:
    kept = {one: text for one, text in HEADERS.items() if one != name}
    return kept if value is None else {**kept, name: value}


SIGNATURE = HEADERS["webhook-signature"]
FORGED: dict[str, dict[str, str]] = {
    "no headers": {},
    **{f"no {name}": _with(name, None) for name in HEADERS},
    **{f"an empty {name}": _with(name, "") for name in HEADERS},
    **{f"a strange {name}": _with(name, "ä\r\n") for name in HEADERS},
    **{f"a long {name}": _with(name, "1" * 5000) for name in HEADERS},
    "another id": _with("webhook-id", "msg_2"),
    "an id with a dot moved": _with("webhook-id", f"msg_1.{NOW}"),
    "another time": _with("webhook-timestamp", str(NOW + 1)),
    "a signed time": _with("webhook-timestamp", f"+{NOW}"),
    "a negative time": _with("webhook-timestamp", f"-{NOW}"),
    "a fraction": _with("webhook-timestamp", f"{NOW}.0"),
    "other digits": _with("webhook-timestamp", "١٢٣"),
    "another version": _with("webhook-signature", SIGNATURE.replace("v1,", "v2,")),
    "no version": _with("webhook-signature", SIGNATURE.removeprefix("v1,")),
    "a part of the signature": _with("webhook-signature", SIGNATURE[:-1]),
    "more than the signature": _with("webhook-signature", f"{SIGNATURE}x"),
    "behind many others": _with("webhook-signature", "v1,x " * 100 + SIGNATURE),
    "in other letters": _with("webhook-signature", SIGNATURE.upper()),
    "another secret": signed_headers([OTHER], "msg_1", NOW, BODY),
    "another body": signed_headers([SECRET], "msg_1", NOW, BODY + b" "),
    "too old": signed_headers([SECRET], "msg_1", NOW - 301, BODY),
    "too new": signed_headers([SECRET], "msg_1", NOW + 301, BODY),
    "a header twice": {**HEADERS, "Webhook-Id": "msg_2"},
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_ones(name: str) -> None:
    with pytest.raises(WebhookError):
        verify_webhook(BODY, FORGED[name], SECRET, now=NOW)


@pytest.mark.parametrize(
    "secrets", ["", "whsec_", "whsec_ä", "whsec_a", "whsec_&&&&", [SECRET, ""]]
)
def test_a_secret_that_is_none_is_a_fault_of_the_receiver(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="whsec_") as caught:
        verify_webhook(BODY, HEADERS, secrets, now=NOW)
    assert SECRET not in str(caught.value)


def test_without_a_secret_nothing_is_genuine() -> None:
    with pytest.raises(WebhookError):
        verify_webhook(BODY, HEADERS, [], now=NOW)


STRANGE: dict[str, Callable[[], Any]] = {
    "no JSON": lambda: b"{",
    "a list": lambda: b"[]",
    "no type": lambda: json.dumps({**CONTENT, "type": None}).encode(),
    "no time": lambda: json.dumps({**CONTENT, "timestamp": 5}).encode(),
    "no download": lambda: json.dumps({**CONTENT, "data": {}}).encode(),
}


@pytest.mark.parametrize("name", STRANGE)
def test_signed_and_not_as_documented(name: str) -> None:
    body = STRANGE[name]()
    with pytest.raises(WebhookError, match="signed, and not as documented"):
        verify_webhook(body, signed_headers([SECRET], "m", NOW, body), SECRET, now=NOW)


def test_a_type_of_a_newer_service() -> None:
    body = json.dumps({**CONTENT, "type": "user.renamed", "data": {"a": 1}}).encode()
    event = verify_webhook(body, signed_headers([SECRET], "m", NOW, body), SECRET, now=NOW)
    assert (event.type, event.download) == ("user.renamed", None)
