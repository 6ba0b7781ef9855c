"""Whether a server can listen on an address, and what is said where it cannot."""

from __future__ import annotations

import os
import socket

import pytest

from worker.process import listening

FORMS = ["127.0.0.1", "0.0.0.0", "localhost"]
FORMS_6 = ["::1", "::"]


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", FORMS + FORMS_6)
def test_port_is_free_until_a_server_listens(address: str) -> None:
    if address in FORMS_6 and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = listening.free_port(address)
    assert listening.refusal(address, port) is None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family):
        error = listening.refusal(address, port)
    assert error is not None
    assert listening.is_in_use(error)
    assert (
        listening.explain(address, port, error) == f"Port {port} is in use. Set SEEN_FLOWER_PORT."
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("192.0.2.1", "is not an address of this machine"),
        ("2001:db8::1", "SEEN_FLOWER_ADDRESS=2001:db8::1"),
        ("no-such-host.invalid", "SEEN_FLOWER_ADDRESS=no-such-host.invalid cannot be used"),
    ],
)
def test_address_of_another_machine_is_named(address: str, says: str) -> None:
    error = listening.refusal(address, 5555)
    assert error is not None
    assert not listening.is_in_use(error)
    assert says in listening.explain(address, 5555, error)


def test_port_that_needs_rights_is_named() -> None:
    said = listening.explain("127.0.0.1", 80, PermissionError(13, "Permission denied"))
    assert said == f"User {os.getuid()} may not listen on port 80. Set SEEN_FLOWER_PORT."


@pytest.mark.parametrize(
    ("address", "url"),
    [("127.0.0.1", "http://127.0.0.1:1/"), ("::1", "http://[::1]:1/"), ("a.b", "http://a.b:1/")],
)
def test_url_has_brackets_around_ipv6(address: str, url: str) -> None:
    assert listening.url(address, 1) == url
