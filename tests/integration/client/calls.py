"""Every method of the clients, called with every argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from seen_client import Client, Cookie, DownloadRequest, Selection
from tests.support.clients.samples import ID

#: With a value for each field that is not its default.
FULL_REQUEST = DownloadRequest(
    "https://example.org/a",
    mirrors=("https://mirror.example/a",),
    secret_url=True,
    directory="films",
    name="b",
    checksum="sha256:" + "0" * 64,
    user_id="ada",
    overwrite=True,
    max_attempts=3,
    max_bytes=5,
    max_rate=5000,
    connections=2,
    decode=True,
    ignore_origin_digests=True,
    priority="low",
    webhook="https://example.org/hook",
    headers={"X-One": "1"},
    username="me",
    password="secret",
    cookies="a=b",
    cookie_jar=(Cookie("a=b", "example.org", True, "/x", True, 1.0),),
)


class Call(NamedTuple):
    """One method.

    Attributes:
        run: calls it.
        is_repeated: it is sent again where no answer, or a passing problem, has come.
    """

    run: Callable[[Client], Any]
    is_repeated: bool


Run = Callable[[Client], Any]


def calls(folder: Path) -> Mapping[str, Call]:
    """Return a call of each method, by its name; `NAME:form` is another form of one."""
    repeated = _reading(folder) | _repeated()
    return {
        **{name: Call(run, True) for name, run in repeated.items()},
        **{name: Call(run, False) for name, run in _once().items()},
        **{
            f"change_many:{action}": Call(
                partial(_act, action), action in {"pause", "resume", "cancel"}
            )
            for action in ("pause", "resume", "cancel", "retry", "delete")
        },
    }


def _act(action: Any, client: Client) -> Any:
    return client.change_many(action, ids=[ID], with_files=action == "delete")


def _reading(folder: Path) -> dict[str, Run]:
    return {
        "show": lambda c: c.show(ID),
        "history": lambda c: c.history(ID),
        "totals": lambda c: c.totals(),
        "list": lambda c: list(
            c.list(state=["failed"], user_id="a", host="h", priority="low", search="s")
        ),
        "wait": lambda c: c.wait(ID),
        "events": lambda c: next(iter(c.events(limit=5, last_event_id="a-1"))),
        "events:of one": lambda c: next(iter(c.events(ID, last_event_id="a-1"))),
        "read_file": lambda c: list(c.read_file(ID, start=1, end=5)),
        "fetch": lambda c: c.fetch(ID, folder / "fetched"),
        "limits": lambda c: c.limits(),
        "who_am_i": lambda c: c.who_am_i(),
        "webhook": lambda c: c.webhook(),
        "webhook_secret": lambda c: c.webhook_secret(),
        "deliveries": lambda c: list(c.deliveries(download_id=ID, state="pending")),
        "delivery": lambda c: c.delivery(7),
    }


def _repeated() -> dict[str, Run]:
    where = Selection("queued", "ada", "example.org")
    return {
        "submit": lambda c: c.submit(FULL_REQUEST, wait=5),
        "submit_many": lambda c: c.submit_many([FULL_REQUEST], mode="each", wait=5),
        "pause": lambda c: c.pause(ID),
        "resume": lambda c: c.resume(ID),
        "cancel": lambda c: c.cancel(ID),
        "change_many": lambda c: c.change_many("move", where=where, priority="low"),
    }


def _once() -> dict[str, Run]:
    return {
        "retry": lambda c: c.retry(ID),
        "set_priority": lambda c: c.set_priority(ID, "high"),
        "delete": lambda c: c.delete(ID, with_file=True),
        "change_limits": lambda c: c.change_limits(
            total=None, concurrent_downloads=2, hosts={"h": 5000}, jobs={ID: None}
        ),
        "sign_in": lambda c: c.sign_in(key="seen_x_y"),
        "sign_in:link": lambda c: c.sign_in(link_token="seen_link_x"),
        "refresh": lambda c: c.refresh(),
        "sign_out": lambda c: c.sign_out(),
        "sign_out_everywhere": lambda c: c.sign_out_everywhere(),
        "set_webhook": lambda c: c.set_webhook("https://example.org/hook"),
        "clear_webhook": lambda c: c.clear_webhook(),
        "renew_webhook_secret": lambda c: c.renew_webhook_secret(),
        "send_again": lambda c: c.send_again(7),
    }
