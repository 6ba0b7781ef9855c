"""Files by both clients: of a real download, and over connections that break or lie."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seen_client import (
    Client,
    ConflictError,
    FileCheckError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    SeenClientError,
    UnexpectedAnswerError,
    repeating,
)
from tests.integration.client.conftest import Serve
from tests.support.clients.both import client_of
from tests.support.clients.samples import ID, download_json
from tests.support.clients.scripted_service import (
    Reaction,
    Received,
    Reply,
    json_reply,
    problem_reply,
)
from tests.support.origins.origin import Origin
from tests.support.services.http_api import HttpApi
from tests.support.services.running import run_download

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PART = f".a.bin.{ID}.part"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_FIRST_PAUSE", 0.002)


def test_a_real_file(client: Client, api: HttpApi, origin: Origin, tmp_path: Path) -> None:
    served = origin.serve("/a.bin", size=700_000)
    with client_of("blocking", api.url, api.keys["root"]) as root:
        job = root.submit(served.url).id
        run_download(api.system.runtime, job)
        target = tmp_path / "a.bin"
        assert root.fetch(job, target) == target
        whole = target.read_bytes()
        assert hashlib.sha256(whole).hexdigest() == root.show(job).sha256
        with pytest.raises(FileExistsError):
            root.fetch(job, target)
        root.fetch(job, target, overwrite=True)
        assert b"".join(root.read_file(job)) == whole
        assert b"".join(root.read_file(job, start=699_990)) == whole[-10:]
        assert b"".join(root.read_file(job, start=5, end=9)) == whole[5:9]
        assert b"".join(root.read_file(job, end=10**12)) == whole
        with pytest.raises(InvalidRequestError) as caught:
            next(root.read_file(job, start=700_000))
        assert caught.value.status == 416
    with pytest.raises(NotFoundError):
        client.fetch(job, tmp_path / "b.bin")
    with pytest.raises(ConflictError):
        client.fetch(client.submit("https://example.org/not-yet").id, tmp_path / "b.bin")
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]


def file_service(
    change: Callable[[Received, bytes], Reaction] = lambda _, reply: reply,
    content: bytes = CONTENT,
    sha256: str | None = DIGEST,
) -> Callable[[Received], Reaction]:
    """A service with one file; `change` gets each answer for it, whose number counts from 1."""
    number = 0

    def react(received: Received) -> Reaction:
        nonlocal number
        if not received.target.endswith("/file"):
            return json_reply(
                download_json(status="completed", sha256=sha256, bytes_total=len(content))
            )
        number += 1
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", received.headers.get("range", ""))
        headers = {"ETag": f'"{DIGEST}"'}
        if found is None:
            reply = Reply(content, 200, "application/octet-stream", headers)
        else:
            start = int(found[1])
            part = content[start : int(found[2]) + 1 if found[2] else None]
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            reply = Reply(part, 206, "application/octet-stream", headers)
            if not part:
                return problem_reply(416)
        return change(Received(*_with_number(received, number)), bytes(reply))

    return react


def _with_number(received: Received, number: int) -> tuple[str, str, dict[str, str], bytes, int]:
    return (received.method, received.target, dict(received.headers), received.body, number)


def test_a_connection_that_breaks_is_continued(serve: Serve, kind: str, tmp_path: Path) -> None:
    """Each of ten connections brings some bytes."""

    def cut(received: Received, reply: bytes) -> Reaction:
        return reply[: reply.index(b"\r\n\r\n") + 4 + 1100]

    for call in (_fetched, _read):
        service = serve(file_service(cut))
        with client_of(kind, service.url, retry_for=60) as client:
            assert call(client, tmp_path) == CONTENT
        asked = [one.headers.get("range") for one in service.requests if "/file" in one.target]
        assert asked == [None, *(f"bytes={n}-10239" for n in range(1100, 10240, 1100))]
        tags = {one.headers.get("if-range") for one in service.requests if "range" in one.headers}
        assert tags == {f'"{DIGEST}"'}


def _fetched(client: Client, folder: Path) -> bytes:
    return client.fetch(ID, folder / "a.bin", overwrite=True).read_bytes()


def _read(client: Client, _folder: Path) -> bytes:
    return b"".join(client.read_file(ID))


@pytest.mark.parametrize(
    ("left", "ranges"),
    [
        (CONTENT[:4000], ["bytes=4000-"]),
        (CONTENT, []),
        (b"", [None]),
        (b"x" * 4000, ["bytes=4000-", None]),
        (CONTENT + b"more", [f"bytes={len(CONTENT) + 4}-", None]),
    ],
    ids=["a part", "all", "nothing", "of another file", "too much"],
)
def test_what_an_earlier_call_has_left(
    serve: Serve, kind: str, tmp_path: Path, left: bytes, ranges: list[str | None]
) -> None:
    (tmp_path / PART).write_bytes(left)
    service = serve(file_service())
    with client_of(kind, service.url) as client:
        assert _fetched(client, tmp_path) == CONTENT
    asked = [one.headers.get("range") for one in service.requests if one.target.endswith("/file")]
    assert asked == ranges
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]


def test_without_a_digest_nothing_is_continued(serve: Serve, kind: str, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(b"x" * 4000)
    service = serve(file_service(sha256=None))
    with client_of(kind, service.url) as client:
        assert _fetched(client, tmp_path) == CONTENT


def _replaced(old: bytes, new: bytes) -> Callable[[Received, bytes], Reaction]:
    return lambda _, reply: reply.replace(old, new, 1)


def _later(change: Callable[[Received, bytes], Reaction]) -> Callable[[Received, bytes], Reaction]:
    """A first answer that breaks off, and others that are changed."""
    return lambda received, reply: (
        reply[:-5000] if received.number == 1 else change(received, reply)
    )


def _whole(_received: Received, _reply: bytes) -> Reaction:
    return bytes(Reply(CONTENT, 200, "application/octet-stream", {"ETag": f'"{DIGEST}"'}))


LYING: dict[str, tuple[Callable[[Received, bytes], Reaction], type[SeenClientError]]] = {
    "other bytes": (_replaced(CONTENT[:9], b"123456789"), FileCheckError),
    "no ETag": (_replaced(b"ETag", b"X-No"), UnexpectedAnswerError),
    "a weak ETag": (_replaced(b'ETag: "', b'ETag: W/"'), UnexpectedAnswerError),
    "no length": (_replaced(b"Content-Length", b"X-No"), UnexpectedAnswerError),
    "HTML": (_replaced(b"application/octet-stream", b"text/html"), UnexpectedAnswerError),
    "a range unasked": (_replaced(b"200 Reason", b"206 Reason"), UnexpectedAnswerError),
    "another ETag later": (_later(_replaced(b'ETag: "', b'ETag: "x')), FileCheckError),
    "the whole file later": (_later(_whole), FileCheckError),
    "another range later": (_later(_replaced(b"bytes 5", b"bytes 4")), FileCheckError),
    "a later range without end": (_later(_replaced(b"-102", b"-x")), UnexpectedAnswerError),
    "a later problem": (_later(lambda *_: problem_reply(410)), SeenClientError),
    "nothing later": (_later(lambda *_: b""), NoAnswerError),
}


@pytest.mark.parametrize("name", LYING)
def test_what_is_not_the_file_is_refused(
    serve: Serve, kind: str, tmp_path: Path, name: str
) -> None:
    change, error = LYING[name]
    service = serve(file_service(change))
    retry_for = 0.3 if name == "nothing later" else 60
    with client_of(kind, service.url, retry_for=retry_for) as client, pytest.raises(error):
        client.fetch(ID, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    if error is FileCheckError:
        assert list(tmp_path.iterdir()) == []


def test_an_empty_file(serve: Serve, kind: str, tmp_path: Path) -> None:
    digest = hashlib.sha256().hexdigest()
    service = serve(file_service(content=b"", sha256=digest))
    with client_of(kind, service.url) as client:
        assert client.fetch(ID, tmp_path / "a.bin").read_bytes() == b""


def test_no_link_is_followed(serve: Serve, kind: str, tmp_path: Path) -> None:
    """In a folder that others can write to, one may have the name of the part file."""
    service = serve(file_service(content=CONTENT, sha256=DIGEST))
    victim = tmp_path / "victim"
    victim.write_bytes(CONTENT[:100])
    (tmp_path / PART).symlink_to(victim)
    with client_of(kind, service.url) as client, pytest.raises(OSError, match=re.escape(PART)):
        client.fetch(ID, tmp_path / "a.bin")
    assert victim.read_bytes() == CONTENT[:100]
    assert not (tmp_path / "a.bin").exists()


def test_wrong_ranges_are_refused(kind: str) -> None:
    with client_of(kind, "http://127.0.0.1:9") as client:
        for start, end in ((-1, None), (5, 5), (5, 4)):
            with pytest.raises(ValueError, match="range"):
                next(client.read_file(ID, start=start, end=end))
