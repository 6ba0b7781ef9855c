"""aria2p, a library and a command line for aria2, works with the service as with aria2."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import aria2p

from tests.integration.rpc.with_workers.conftest import SIZE
from tests.support.aria2 import rpc
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until


def _aria2p(api: HttpApi, user: str = "root") -> aria2p.API:
    return aria2p.API(aria2p.Client("http://127.0.0.1", api.port, api.keys[user], timeout=60))


def test_aria2ps_library(api: HttpApi, files: Mapping[str, str]) -> None:
    library = _aria2p(api)
    paused = library.add_uris([files["slow"]], {"pause": "true", "out": "p.bin"})
    done = library.add_uris([files["fast"]], {"out": "q.bin", "dir": "from-aria2p"})
    wait_until(lambda: done.live.is_complete, deadline=60, what="it is complete")
    assert (done.total_length, done.completed_length, done.name) == (SIZE, SIZE, "q.bin")
    assert Path(done.files[0].path).stat().st_size == SIZE
    assert paused.live.is_paused
    assert {one.gid for one in library.get_downloads()} >= {paused.gid, done.gid}
    assert library.resume([paused]) == [True]
    wait_until(lambda: paused.live.is_active, deadline=60, what="it is active")
    assert library.pause([paused]) == [True]
    wait_until(lambda: paused.live.is_paused, deadline=60, what="it is paused")
    assert library.set_options({"max-download-limit": "50K"}, [paused]) == [True]
    assert library.get_options([paused])[0].max_download_limit == 51_200
    assert library.set_global_options({"max-overall-download-limit": "1M"})
    assert library.get_global_options().max_overall_download_limit == 2**20
    assert library.set_global_options({"max-overall-download-limit": "0"})
    assert library.get_stats().num_waiting >= 1
    assert library.remove([paused]) == [True]
    assert library.purge()
    assert done.gid not in {one.gid for one in library.get_downloads()}


def _listeners(api: HttpApi) -> int:
    notifier = getattr(api.app.state, "rpc_notifier", None)
    return len(notifier._clients) if notifier is not None else 0


def test_aria2ps_notifications(api: HttpApi, files: Mapping[str, str]) -> None:
    client = aria2p.Client(
        f"http://127.0.0.1:{api.port}/jsonrpc?token={api.keys['root']}&", api.port
    )
    heard: list[tuple[str, str]] = []
    callbacks = {
        f"on_download_{name}": lambda gid, name=name: heard.append((name, gid))
        for name in ("start", "complete")
    }
    listening = threading.Thread(
        target=client.listen_to_notifications,
        kwargs={**callbacks, "timeout": 1, "handle_signals": False},
    )
    listening.start()
    try:
        wait_until(lambda: _listeners(api) == 1, deadline=30, what="it listens")
        gid = rpc(api, "root").call("addUri", [files["fast"]], {"out": "heard.bin"})
        expected = [("start", gid), ("complete", gid)]
        wait_until(lambda: heard == expected, deadline=60, what="it has heard of both")
    finally:
        client.stop_listening()
        listening.join(timeout=30)
    assert not listening.is_alive()


def test_aria2ps_command_line(api: HttpApi, files: Mapping[str, str]) -> None:
    def run(*arguments: str) -> str:
        options = ["--host", "http://127.0.0.1", "--port", str(api.port)]
        command = [sys.executable, "-m", "aria2p", *options, "--secret", api.keys["root"]]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    client = rpc(api, "root")
    run("add", files["slow"])
    (gid,) = [one["gid"] for one in client.call("tellWaiting", 0, 100, ["gid"])] or [
        one["gid"] for one in client.call("tellActive", ["gid"])
    ]
    assert gid in run("show")
    run("pause", gid)
    wait_until(
        lambda: client.call("tellStatus", gid, ["status"]) == {"status": "paused"},
        deadline=60,
        what="it is paused",
    )
    run("resume", gid)
    run("remove", gid)
    wait_until(
        lambda: client.call("tellStatus", gid, ["status"]) == {"status": "removed"},
        deadline=60,
        what="it is removed",
    )
    run("purge")
    assert client.call("tellStopped", 0, 10) == []
