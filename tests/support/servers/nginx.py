"""A real nginx that serves files on loopback and logs requests for the test."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.servers.process import Process, end_process, on_a_port, spawn, wait_ready
from tests.support.servers.tls import Certificate

HOST = "127.0.0.1"

# One process, no master: nothing here needs root, and as root nothing changes to a user who
# could not read the folder. Every path lies under the prefix.
CONFIG = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    default_type application/octet-stream;
    sendfile on;
    server_tokens off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    log_format seen '$request_method\\t$request_uri\\t$status\\t$http_range\\t$body_bytes_sent'
                    '\\t$server_protocol\\t$connection';
    limit_conn_zone $server_port zone=few:1m;
    access_log access.log seen;
    server {
        listen @HOST@:@PORT@@TLS@;
        location / { root files; }
        location /slow/ { alias files/; limit_rate 1m; }
        location /few/ { alias files/; limit_rate 1m; limit_conn few 2; }
        location /whole/ { alias files/; max_ranges 0; }
    }
}
"""


class NginxRequest(NamedTuple):
    """One line of the access log; `bytes` counts the body bytes sent.

    `protocol` is as "HTTP/2.0"; `connection` is nginx's number of the connection.
    """

    method: str
    uri: str
    status: int
    range_header: str | None
    bytes: int
    protocol: str
    connection: int


class Nginx:
    """An nginx child on a free loopback port.

    Files put under `root` are served at `/`, at `/slow/` with at most 1 MiB/s a connection, at `/few/`
    with that and at most two connections (503 for more), and at `/whole/` without ranges.

    Args:
        host: the address it listens on; an IPv6 one in brackets.
        certificate: speak TLS and HTTP/2 with this one.
    """

    def __init__(self, *, host: str = HOST, certificate: Certificate | None = None) -> None:
        """Prepare; nothing runs before `start`. Raises `FileNotFoundError` without nginx."""
        self._host = host
        self._certificate = certificate
        self.binary = find_nginx()
        self.port = 0
        self._folder = Path(tempfile.mkdtemp(prefix="seen-nginx-"))
        self._forget = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.root = self._folder / "files"
        self.access_log = self._folder / "access.log"
        self._output = self._folder / "output.log"
        self._process: Process | None = None
        self.root.mkdir()
        (self._folder / "tmp").mkdir()

    def url(self, path: str) -> str:
        """The address of a path such as "/file.bin"."""
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{self._host}:{self.port}{path}"

    def start(self) -> None:
        """Start and wait until it accepts connections; nothing happens when it already runs.

        Raises `ServerError` with nginx's output when it does not come up.
        """
        if self._process is not None and self._process.poll() is None:
            return
        on_a_port(self.port, self._launch)

    def stop(self) -> None:
        """End it at once, open transfers included; files, log and port stay."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)

    def close(self) -> None:
        """Stop and remove every file; the object is of no use afterwards."""
        self.stop()
        self._forget()

    def requests(self, uri: str | None = None) -> list[NginxRequest]:
        """Finished requests, oldest first, for one request URI or for all.

        nginx logs a request after its last byte, so a test waits for the line it expects.
        """
        try:
            lines = self.access_log.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        # The last line may be half written.
        parsed = [_parse(line) for line in lines if line.endswith("\n")]
        return [entry for entry in parsed if uri is None or entry.uri == uri]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        if self.access_log.exists():
            os.truncate(self.access_log, 0)  # nginx appends, so it goes on at the new end

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _launch(self, port: int) -> None:
        config = self._folder / "nginx.conf"
        config.write_text(self._config(port))
        for stale in (self._output, self._folder / "nginx.pid"):
            stale.unlink(missing_ok=True)
        # -e: before it has read its configuration it would open a log that only root may write.
        prefix = ["-p", f"{self._folder}/", "-c", str(config), "-e", "stderr"]
        self._process = spawn([self.binary, *prefix], log=self._output)
        before, self.port = self.port, port
        try:
            wait_ready(self._process, self._output, self._accepts)
        except BaseException:
            self.stop()
            self.port = before
            raise

    def _config(self, port: int) -> str:
        tls = ""
        if self._certificate is not None:
            files = self._certificate
            tls = (
                f" ssl http2; ssl_certificate {files.certificate}; ssl_certificate_key {files.key}"
            )
        text = CONFIG.replace("@HOST@", self._host).replace("@PORT@", str(port))
        return text.replace("@TLS@", tls)

    def _accepts(self) -> bool:
        try:
            address = (self._host.strip("[]"), self.port)
            socket.create_connection(address, timeout=1).close()
        except OSError:
            return False
        # Another program may listen there: then nginx has ended, or is about to.
        return (self._folder / "nginx.pid").exists()


def find_nginx() -> Path:
    """The nginx program, on PATH or in /usr/sbin. Raises `FileNotFoundError` without one."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which("nginx", path=search)
    if found is None:
        raise FileNotFoundError("nginx is not installed (looked on PATH and in /usr/sbin)")
    return Path(found)


def _parse(line: str) -> NginxRequest:
    method, uri, status, range_header, sent, protocol, connection = line.rstrip("\n").split("\t")
    asked = None if range_header == "-" else range_header
    return NginxRequest(method, uri, int(status), asked, int(sent), protocol, int(connection))
