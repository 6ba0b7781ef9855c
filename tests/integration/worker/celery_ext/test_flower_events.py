"""Which lines of Flower's timers are dropped: those about an outage that its loop for events logs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import pytest
import redis
from kombu import Connection

from tests.support.servers.process import free_port
from tests.support.stores.server import ONCE, StoreServer
from tests.support.wait import wait_until
from worker.celery_ext.flower_events import is_no_repetition

INSPECTOR = "Inspect method %s failed: %s"


def closed_by_server(store: StoreServer) -> None:
    """Wait for a message on a connection that the server closes."""
    with store.client() as admin, store.client(retry=ONCE) as client:

        def end_wait() -> None:
            wait_until(lambda: admin.info("clients")["blocked_clients"], what="the client waits")
            admin.client_kill_filter(_type="normal", skipme=True)

        stopping = threading.Thread(target=end_wait)
        stopping.start()
        try:
            client.brpop(["absent"], timeout=20)
        finally:
            stopping.join()


def silent(store: StoreServer) -> None:
    """Wait longer for an answer than the client allows."""
    with store.client(retry=ONCE, socket_timeout=0.1) as client:
        client.brpop(["absent"], timeout=5)


def no_server(store: StoreServer) -> None:
    redis.Redis(port=free_port(), retry=ONCE).ping()


def no_broker(store: StoreServer) -> None:
    with Connection(f"redis://127.0.0.1:{free_port()}/0") as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)


def forbidden(store: StoreServer) -> None:
    with store.client() as client:
        client.acl_setuser("watcher", enabled=True, nopass=True, commands=["+ping"], keys=["*"])
        try:
            client.execute_command("AUTH", "watcher", "any")
            client.get("key")
        finally:
            with store.client() as admin:
                admin.acl_deluser("watcher")


def wrong_type(store: StoreServer) -> None:
    with store.client() as client:
        client.set("text", "a")
        client.hgetall("text")


#: What Flower's timers can meet, and whether it is an outage.
ERRORS: Mapping[Callable[[StoreServer], None], bool] = MappingProxyType(
    {
        closed_by_server: True,
        silent: True,
        no_server: True,
        no_broker: True,
        forbidden: True,
        wrong_type: False,
    }
)


@pytest.mark.parametrize("fails", ERRORS, ids=lambda fails: fails.__name__)
def test_lines_about_an_outage_are_dropped_and_others_kept(
    store: StoreServer, fails: Callable[[StoreServer], None]
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the table has every kind
        fails(store)
    record = logging.makeLogRecord({"msg": INSPECTOR, "args": ("conf", caught.value)})
    assert is_no_repetition(record) is not ERRORS[fails], repr(caught.value)


def test_line_of_another_subject_is_kept() -> None:
    error = redis.ConnectionError("Connection closed by server.")
    assert is_no_repetition(logging.makeLogRecord({"msg": "Tasks not saved: %s", "args": (error,)}))
