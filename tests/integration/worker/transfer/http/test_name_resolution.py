"""A host name that is not resolved: one that does not exist is given up soon, trouble is waited for."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from domain.job import JobStatus
from tests.support.faults import resolver
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Downloads
from worker.transfer.http.error_mapping import NO_SUCH_HOST, RESOLVER_CODES

S = JobStatus

#: (code of getaddrinfo, our own code, whether the second look ends the job)
CODES = [
    (socket.EAI_NONAME, NO_SUCH_HOST, "PermanentError"),
    (socket.EAI_NODATA, NO_SUCH_HOST, "PermanentError"),
    (socket.EAI_ADDRFAMILY, NO_SUCH_HOST, "PermanentError"),
    (socket.EAI_AGAIN, "dns", "TransientError"),
    (socket.EAI_FAIL, "dns", "TransientError"),
    (socket.EAI_MEMORY, "dns", "TransientError"),
    (socket.EAI_SYSTEM, "dns", "TransientError"),
    (socket.EAI_OVERFLOW, "dns", "TransientError"),
    (socket.EAI_BADFLAGS, "dns", "TransientError"),
    (socket.EAI_FAMILY, "dns", "TransientError"),
    (socket.EAI_SERVICE, "dns", "TransientError"),
    (socket.EAI_SOCKTYPE, "dns", "TransientError"),
]


class End(NamedTuple):
    """How a transfer ended: the error's class, its code and its message."""

    kind: str
    code: str
    message: str


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    return resolver.build(tmp_path_factory.mktemp("resolver"))


@dataclass(frozen=True)
class Fetch:
    """Runs transfers in a process whose resolver answers as `resolver.c` says."""

    library: Path
    folder: Path

    def each(self, urls: list[str], codes: list[int], *, timeout: float = 60) -> list[End]:
        """Run one after the other and return how they ended."""
        module = "tests.support.processes.fetching"
        done = subprocess.run(
            [sys.executable, "-m", module, str(self.folder / "files"), *urls],
            env=os.environ | resolver.environment(self.library, self.folder, codes),
            check=True,
            capture_output=True,
            timeout=timeout,
        )
        return [End(*end) for end in json.loads(done.stdout)]

    def __call__(self, url: str, codes: list[int]) -> End:
        """Run one, with these codes of the resolver one after the other."""
        (end,) = self.each([url], codes)
        return end


@pytest.fixture
def fetch(library: Path, tmp_path: Path) -> Fetch:
    return Fetch(library, tmp_path)


@pytest.fixture(scope="module")
def ends(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, End]:
    """How a transfer ends, by the code that the resolver answers with; all in one process."""
    fetch = Fetch(library, tmp_path_factory.mktemp("ends"))
    urls = [f"http://eai-{-code}.test/a.bin" for code, _, _ in CODES]
    found = fetch.each(urls, [], timeout=150)
    return {code: end for (code, _, _), end in zip(CODES, found, strict=True)}


@pytest.mark.parametrize(("answer", "code", "kind"), CODES)
def test_resolver_code_decides_whether_the_job_waits(
    ends: dict[int, End], answer: int, code: str, kind: str
) -> None:
    assert (ends[answer].kind, ends[answer].code) == (kind, code)


def test_every_code_of_the_resolver_has_a_row_above() -> None:
    assert {row[0]: row[1] for row in CODES} == dict(RESOLVER_CODES)
    not_results = {"EAI_MAX", "EAI_BADHINTS", "EAI_PROTOCOL"}  # of other systems
    known = {
        getattr(socket, n) for n in dir(socket) if n.startswith("EAI_") and n not in not_results
    }
    assert known == set(RESOLVER_CODES)


def test_name_that_does_not_exist_is_asked_for_twice(fetch: Fetch, tmp_path: Path) -> None:
    kind, _, message = fetch("http://files.test/a.bin", [socket.EAI_NONAME])
    assert kind == "PermanentError"
    assert "There is no host 'files.test'" in message
    # Each look is one of libcurl's and one of ours; libcurl keeps the first answer for the second.
    assert 3 <= (tmp_path / "asked").read_text().count("files.test\n") <= 4


def test_name_that_appears_between_the_looks_is_not_given_up(fetch: Fetch) -> None:
    kind, code, _ = fetch("http://files.test/a.bin", [socket.EAI_NONAME, socket.EAI_AGAIN])
    assert (kind, code) == ("TransientError", "dns")


def test_host_of_a_redirect_that_does_not_exist_is_named(fetch: Fetch, origin: Origin) -> None:
    link = origin.serve("/link", body=b"", redirect="http://gone.test/a.bin")
    kind, code, message = fetch(link.url, [socket.EAI_NONAME])
    assert (kind, code) == ("PermanentError", NO_SUCH_HOST)
    assert "gone.test" in message


def test_label_that_is_too_long_fails_at_once(downloads: Downloads) -> None:
    """Nothing is sent for it: a label has 1 to 63 octets."""
    job = downloads.run(f"http://{'a' * 64}.test/a.bin")
    assert (job.status, job.error_code, job.attempts) == (S.FAILED, NO_SUCH_HOST, 1)
