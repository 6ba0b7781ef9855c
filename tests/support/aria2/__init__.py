"""Calls of aria2's JSON-RPC, to this service and to a real aria2; the options that aria2 has."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.servers.process import free_port
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until

#: With these an API of tests serves aria2's JSON-RPC.
SETTINGS = {
    "SEEN_ARIA2_RPC": "true",
    "SEEN_ARIA2_RPC_ORIGINS": "https://ariang.example",
    "SEEN_USER_REQUESTS": "1000",
}


class RpcError(Exception):
    """The error of an answer."""


class Rpc:
    """A client with one token.

    Args:
        url: of the server, without `/jsonrpc`.
        token: the secret; None sends none.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = f"{url}/jsonrpc", token

    def send(self, content: Any, **options: Any) -> httpx.Response:
        """Post a body: bytes as they are, all else as JSON."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        # Each client would read the certificates of authorities, which takes longer than the call.
        return httpx.post(self.url, content=raw, timeout=60, verify=False, **options)

    def params(self, *params: Any) -> list[Any]:
        """Return parameters behind the token."""
        return list(params) if self.token is None else [f"token:{self.token}", *params]

    def answer(self, method: str, *params: Any) -> dict[str, Any]:
        """Return the whole answer to a call."""
        body = {"jsonrpc": "2.0", "id": "q", "method": method, "params": self.params(*params)}
        found: dict[str, Any] = self.send(body).json()
        return found

    def call(self, method: str, *params: Any) -> Any:
        """Return the result of a method, whose name may leave out `aria2.`; raise RpcError."""
        name = method if "." in method else f"aria2.{method}"
        answer = self.answer(name, *params)
        if "error" in answer:
            raise RpcError(answer["error"]["message"])
        return answer["result"]


def rpc(api: HttpApi, user: str) -> Rpc:
    """Return a client of a user of an API."""
    return Rpc(api.url, api.keys[user])


@contextmanager
def real_aria2(folder: Path) -> Iterator[Rpc]:
    """Run a real aria2 whose secret is "secret"; `shutil.which("aria2c")` says whether there is one."""
    program = shutil.which("aria2c")
    assert program is not None
    port = free_port()
    options = {
        "enable-rpc": "true",
        "rpc-listen-port": str(port),
        "rpc-secret": "secret",
        "dir": str(folder),
        "max-concurrent-downloads": "4",
        "quiet": "true",
        "max-tries": "1",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    process = subprocess.Popen([program, "--no-conf", *arguments])
    client = Rpc(f"http://127.0.0.1:{port}", "secret")
    try:
        wait_until(lambda: _answers(client), deadline=30, what="aria2 answers")
        yield client
    finally:
        process.kill()
        process.wait()


def _answers(client: Rpc) -> bool:
    try:
        return bool(client.call("getVersion"))
    except httpx.TransportError:
        return False


#: All options of one download, as `man aria2c` lists them under "Input File".
OPTIONS = frozenset(
    """
    all-proxy all-proxy-passwd all-proxy-user allow-overwrite allow-piece-length-change
    always-resume async-dns auto-file-renaming bt-enable-hook-after-hash-check bt-enable-lpd
    bt-exclude-tracker bt-external-ip bt-force-encryption bt-hash-check-seed bt-load-saved-metadata
    bt-max-peers bt-metadata-only bt-min-crypto-level bt-prioritize-piece bt-remove-unselected-file
    bt-request-peer-speed-limit bt-require-crypto bt-save-metadata bt-seed-unverified
    bt-stop-timeout bt-tracker bt-tracker-connect-timeout bt-tracker-interval bt-tracker-timeout
    check-integrity checksum conditional-get connect-timeout content-disposition-default-utf8
    continue dir dry-run enable-http-keep-alive enable-http-pipelining enable-mmap
    enable-peer-exchange file-allocation follow-metalink follow-torrent force-save ftp-passwd
    ftp-pasv ftp-proxy ftp-proxy-passwd ftp-proxy-user ftp-reuse-connection ftp-type ftp-user gid
    hash-check-only header http-accept-gzip http-auth-challenge http-no-cache http-passwd
    http-proxy http-proxy-passwd http-proxy-user http-user https-proxy https-proxy-passwd
    https-proxy-user index-out lowest-speed-limit max-connection-per-server max-download-limit
    max-file-not-found max-mmap-limit max-resume-failure-tries max-tries max-upload-limit
    metalink-base-uri metalink-enable-unique-protocol metalink-language metalink-location
    metalink-os metalink-preferred-protocol metalink-version min-split-size
    no-file-allocation-limit no-netrc no-proxy out parameterized-uri pause pause-metadata
    piece-length proxy-method realtime-chunk-checksum referer remote-time remove-control-file
    retry-wait reuse-uri rpc-save-upload-metadata seed-ratio seed-time select-file split
    ssh-host-key-md stream-piece-selector timeout uri-selector use-head user-agent
    """.split()  # noqa: SIM905 - as the manual has them
)
