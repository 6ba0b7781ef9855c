"""An nginx for benchmarks, on loopback: two workers, no log, and optionally a rate limit."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.servers.nginx import HOST, find_nginx
from tests.support.servers.process import Process, end_process, on_a_port, spawn, wait_ready

MIB = 2**20

MOST_CHUNK = 256 * 1024

CONFIG = """\
daemon off;
@USER@
worker_processes 2;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 8192; }
http {
    default_type application/octet-stream;
    sendfile on;
    access_log off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    server {
        # A thousand connect at once; a refused one would retry a second later.
        listen 127.0.0.1:@PORT@ backlog=4096;
        location / { root files; @OPTIONS@ }
        location = /status { stub_status; }
    }
}
"""


@dataclass(frozen=True, slots=True)
class OriginFile:
    """A file the origin serves: its size in bytes and its SHA-256."""

    url: str
    size: int
    sha256: str


class Origin:
    """Runs as a context manager; its files lie in `folder`.

    Args:
        folder: an empty one, for files and configuration.
        rate: the limit of each connection in bytes a second, whole KiB; None for none.
        ranges: answer range requests; without, a client can use only one connection.
    """

    def __init__(self, folder: Path, *, rate: int | None = None, ranges: bool = True) -> None:
        self._folder = folder
        self._rate = rate
        #: A limited response goes out in chunks of this size, each followed by its pause. So the first
        #: one comes without delay; nginx' default chunk is 2 MiB.
        self._chunk = min(MOST_CHUNK, (rate or MOST_CHUNK) // 4)
        self._ranges = ranges
        self._port = 0
        self._process: Process | None = None
        self._binary = find_nginx()

    def ideal(self, size: int, connections: int) -> float:
        """Return the seconds it takes this origin to send `size` bytes over so many connections."""
        if self._rate is None:
            raise ValueError("an origin without limit has no ideal time")
        return max(0.0, size / connections - self._chunk) / self._rate

    def serve(self, name: str, size: int) -> OriginFile:
        """Make a file of `size` random bytes and serve it under `name`."""
        digest = hashlib.sha256()
        with (self._folder / "files" / name).open("wb") as file:
            for start in range(0, size, MIB):
                block = os.urandom(min(MIB, size - start))
                digest.update(block)
                file.write(block)
        return OriginFile(f"http://{HOST}:{self._port}/{name}", size, digest.hexdigest())

    def responses(self) -> int:
        """Return how many responses it is sending."""
        with urllib.request.urlopen(f"http://{HOST}:{self._port}/status", timeout=10) as answer:
            found = re.search(rb"Writing: ([0-9]+)", answer.read())
        assert found is not None
        return int(found[1]) - 1  # this one

    def __enter__(self) -> Self:
        for name in ("files", "tmp"):
            (self._folder / name).mkdir(parents=True)
        on_a_port(0, self._launch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end_process(self._process)

    def _launch(self, port: int) -> None:
        options = "" if self._ranges else "max_ranges 0; "
        if self._rate is not None:
            limit = f"limit_rate {self._rate // 1024}k; limit_rate_after 0; "
            options += f"{limit}sendfile_max_chunk {self._chunk};"
        # By default, workers of root's nginx run as a user who cannot read the folder.
        user = "user root root;" if os.geteuid() == 0 else ""
        text = (
            CONFIG.replace("@PORT@", str(port))
            .replace("@USER@", user)
            .replace("@OPTIONS@", options)
        )
        config, log = self._folder / "nginx.conf", self._folder / "nginx.log"
        config.write_text(text)
        command = [str(self._binary), "-p", f"{self._folder}/", "-c", str(config), "-e", "stderr"]
        # Killed outright, the master would leave its workers behind.
        self._process = spawn(command, log=log, death_signal=signal.SIGTERM)
        self._port = port
        try:
            wait_ready(self._process, log, self._accepts)
        except BaseException:
            end_process(self._process)
            self._process = None
            raise

    def _accepts(self) -> bool:
        try:
            socket.create_connection((HOST, self._port), timeout=1).close()
        except OSError:
            return False
        return (self._folder / "nginx.pid").exists()
