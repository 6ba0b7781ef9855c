"""TLS for test servers: a certificate authority, and a front for any TCP server.

authority = Authority(tmp_path)
with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:
    ...                              # https://127.0.0.1:{front.port} is the origin
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import ssl
import struct
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.closing import Closing

HOST = "127.0.0.1"
CHUNK = 64 * 1024
TIMEOUT = 5.0  # seconds for a handshake, and for a goodbye
TICK = 0.05  # seconds between two looks at the end
DAY = timedelta(days=1)


class Certificate(NamedTuple):
    """Two PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates. `ca_file` is what a client has to trust.

    Args:
        folder: gets the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._issued = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = (
            self._builder(self._name, self._key.public_key(), expired=False)
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str, expired: bool = False) -> Certificate:
        """A certificate for these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(subject, key.public_key(), expired=expired)
            .add_extension(x509.SubjectAlternativeName(map(_general, names)), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._issued += 1
        issued = Certificate(
            self._folder / f"server{self._issued}.pem", self._folder / f"server{self._issued}.key"
        )
        issued.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return issued

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        end = now - DAY if expired else now + DAY
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - 3 * DAY)
            .not_valid_after(end)
            .add_extension(identifier, critical=False)
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class TlsFront(Closing):
    """Speaks TLS to clients and passes what they say to `port` on 127.0.0.1. Listens once made.

    It says goodbye as TLS asks for when the server behind it closes, and resets when that resets.

    Attributes:
        port: where it listens.
    """

    def __init__(self, port: int, certificate: Certificate) -> None:
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.certificate, certificate.key)
        self._closing = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="tls", daemon=True)]
        self._threads[0].start()

    def url(self, path: str, host: str = HOST) -> str:
        """The address of a path such as "/file.bin"."""
        return f"https://{host}:{self.port}{path}"

    def close(self) -> None:
        """End every connection and the threads."""
        self._closing.set()
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(TIMEOUT)
        with (
            client,
            suppress(OSError),
            self._context.wrap_socket(client, server_side=True) as tls,
            socket.create_connection((HOST, self._target), timeout=TIMEOUT) as server,
        ):
            self._open += [tls, server]
            tls.settimeout(None)
            self._pass_on(tls, server)

    def _pass_on(self, tls: ssl.SSLSocket, server: socket.socket) -> None:
        """Both ways in one thread: a TLS connection is not for two."""
        with selectors.DefaultSelector() as selector:
            selector.register(tls, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, tls)
            while not self._closing.is_set():
                for key, _ in selector.select(TICK):
                    try:
                        data = _read(key.fileobj)
                    except ConnectionResetError:
                        tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    if data:
                        key.data.sendall(data)
                        continue
                    if key.fileobj is server:
                        tls.settimeout(TIMEOUT)
                        tls.unwrap().close()
                    return


def _read(source: Any) -> bytes:
    data: bytes = source.recv(CHUNK)
    while isinstance(source, ssl.SSLSocket) and source.pending():
        data += source.recv(CHUNK)
    return data
