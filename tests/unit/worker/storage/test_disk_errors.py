"""What an errno means, line by line: as the table says it, and as real calls of a part file meet it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.services.system import ROOT
from worker.storage.disk_errors import translate
from worker.storage.errno_table import _DEFAULTS, ErrorKind, FileOperation, error_kind

#: What Linux documents (man-pages 6) for each call that is made, by the step it is made in.
DOCUMENTED: dict[FileOperation, str] = {
    FileOperation.CREATE_FOLDER: (
        "EACCES EBADF EDQUOT EEXIST EFAULT EINVAL ELOOP EMLINK ENAMETOOLONG ENOENT ENOMEM "
        "ENOSPC ENOTDIR EPERM EROFS"
    ),
    FileOperation.OPEN: (
        "EACCES EBADF EBUSY EDQUOT EEXIST EFAULT EFBIG EINTR EINVAL EISDIR ELOOP EMFILE "
        "ENAMETOOLONG ENFILE ENODEV ENOENT ENOMEM ENOSPC ENOTDIR ENXIO EOPNOTSUPP EOVERFLOW "
        "EPERM EROFS ETXTBSY EWOULDBLOCK"
    ),
    FileOperation.LOCK: "EBADF EINTR EINVAL ENOLCK EWOULDBLOCK",
    FileOperation.WRITE: (
        "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO EISDIR ENOSPC ENXIO "
        "EOPNOTSUPP EOVERFLOW EPERM EPIPE EROFS ESPIPE ETXTBSY"
    ),
    FileOperation.READ: "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR ENXIO EOVERFLOW ESPIPE",
    FileOperation.SYNC: "EBADF EDQUOT EINTR EINVAL EIO ENOSPC EROFS",
    FileOperation.NAME: (
        "EACCES EBADF EBUSY EDQUOT EEXIST EFAULT EINVAL EIO EISDIR ELOOP EMLINK ENAMETOOLONG "
        "ENOENT ENOMEM ENOSPC ENOTDIR ENOTEMPTY EPERM EROFS EXDEV"
    ),
    FileOperation.REMOVE: (
        "EACCES EBADF EBUSY EFAULT EINVAL EIO EISDIR ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR "
        "EPERM EROFS"
    ),
    FileOperation.EXAMINE: (
        "EACCES EBADF EFAULT EINTR EIO ELOOP ENAMETOOLONG ENOENT ENOMEM ENOSYS ENOTDIR EOVERFLOW"
    ),
    FileOperation.OPTIONAL: (
        "EACCES EBADF EFAULT EFBIG EINTR EINVAL EIO ELOOP ENAMETOOLONG ENODEV ENOENT ENOMEM "
        "ENOSPC ENOSYS ENOTDIR ENOTSUP EOPNOTSUPP EPERM EROFS ESPIPE ESRCH ETXTBSY"
    ),
}


@pytest.mark.parametrize("step", DOCUMENTED)
def test_every_documented_errno_has_a_line(step: FileOperation) -> None:
    numbers = {name: getattr(errno, name) for name in DOCUMENTED[step].split()}
    missing = [name for name, number in numbers.items() if number not in _DEFAULTS]
    assert missing == []


def test_an_unknown_errno_uses_up_an_attempt() -> None:
    assert error_kind(FileOperation.WRITE, 4095) is ErrorKind.RETRY
    assert error_kind(FileOperation.WRITE, None) is ErrorKind.RETRY


#: Errnos of a disk, a mount or a file server: they wait, whatever was asked of an existing file.
TROUBLE = (
    "EROFS EIO ESTALE EACCES EPERM ENODEV ENXIO ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN "
    "ENETUNREACH ENOTCONN EREMOTEIO EUCLEAN EBADMSG ENOMEDIUM ECONNRESET ECONNREFUSED ESHUTDOWN "
    "EBUSY ETXTBSY ENOKEY EKEYEXPIRED"
)
LINES: list[tuple[str, str, ErrorKind]] = [
    # step, errnos, what follows
    *[(step, "ENOSPC EDQUOT", ErrorKind.FULL) for step in FileOperation.__members__],
    *[
        (step, TROUBLE, ErrorKind.UNAVAILABLE)
        for step in ("WRITE", "READ", "SYNC", "NAME", "EXAMINE")
    ],
    *[
        (step, "EROFS EIO ESTALE", ErrorKind.UNAVAILABLE)
        for step in ("OPEN", "CREATE_FOLDER", "REMOVE", "LOCK")
    ],
    *[(step, "EIO ESTALE EROFS", ErrorKind.UNAVAILABLE) for step in ("OPTIONAL",)],
    *[
        (step, "EACCES EPERM", ErrorKind.UNAVAILABLE)
        for step in ("OPEN", "CREATE_FOLDER", "REMOVE")
    ],
    ("CREATE_FOLDER_OUTSIDE_ROOT", "EACCES EPERM EROFS", ErrorKind.BAD_PATH),
    ("CREATE_FOLDER_OUTSIDE_ROOT", "EIO ESTALE ETIMEDOUT", ErrorKind.UNAVAILABLE),
    *[
        (step, "EMFILE ENFILE ENOMEM ENOBUFS", ErrorKind.RESOURCES)
        for step in FileOperation.__members__
    ],
    *[(step, "EAGAIN", ErrorKind.RESOURCES) for step in ("OPEN", "WRITE", "READ")],
    ("LOCK", "EWOULDBLOCK EACCES", ErrorKind.BUSY),
    ("LOCK", "ENOSYS ENOLCK EOPNOTSUPP EINVAL EPERM", ErrorKind.UNSUITABLE),
    *[
        (
            step,
            "ENOENT ENOTDIR ELOOP EISDIR ENAMETOOLONG EEXIST EINVAL EILSEQ EMLINK",
            ErrorKind.BAD_PATH,
        )
        for step in ("CREATE_FOLDER", "CREATE_FOLDER_OUTSIDE_ROOT")
    ],
    ("OPEN", "ENOTDIR ELOOP EISDIR ENAMETOOLONG", ErrorKind.BAD_PATH),
    ("OPEN", "EINVAL EILSEQ ENOSYS EOPNOTSUPP", ErrorKind.UNSUITABLE),
    *[(step, "EFBIG EOVERFLOW", ErrorKind.TOO_LARGE) for step in ("OPEN", "WRITE", "OPTIONAL")],
    ("NAME", "ENAMETOOLONG EINVAL EILSEQ", ErrorKind.BAD_NAME),
    ("NAME", "ENOTDIR EISDIR ENOTEMPTY ELOOP", ErrorKind.BAD_PATH),
    ("NAME", "EXDEV EMLINK ENOSYS EOPNOTSUPP", ErrorKind.UNSUITABLE),
    (
        "OPTIONAL",
        "EPERM EACCES EINVAL ENOTSUP EOPNOTSUPP ENOSYS ENOTTY ENODEV EISDIR ESRCH",
        ErrorKind.IGNORE,
    ),
    ("SYNC", "EINVAL ENOSYS EOPNOTSUPP ENOTTY", ErrorKind.IGNORE),
    *[
        (step, "ENOENT EBADF EFAULT", ErrorKind.RETRY)
        for step in ("OPEN", "WRITE", "READ", "SYNC", "NAME")
    ],
    ("EXAMINE", "EOVERFLOW ENOENT", ErrorKind.RETRY),
]


@pytest.mark.parametrize(("step", "names", "expected"), LINES)
def test_each_line_of_the_table(step: str, names: str, expected: ErrorKind) -> None:
    found = {name: error_kind(FileOperation[step], getattr(errno, name)) for name in names.split()}
    assert found == dict.fromkeys(names.split(), expected)


@pytest.mark.parametrize("step", FileOperation)
def test_every_message_says_what_where_and_why(step: FileOperation) -> None:
    for number in _DEFAULTS:
        error = translate(OSError(number, os.strerror(number)), step, Path("/data/film.mkv"))
        if error_kind(step, number) is ErrorKind.IGNORE:
            assert error is None
            continue
        assert "/data/film.mkv" in str(error)
        assert os.strerror(number) in str(error) or error_kind(step, number) is ErrorKind.BUSY


# ── the same lines, met by a real part file ─────────────────────────────────────────────────────

#: Reads lines of "USE" and does that with a part file in a fresh folder; answers each with a code.
DRIVER = """
import json, sys
from pathlib import Path
from domain.errors import SeenError
from worker.storage.destination import Checkpoint
from worker.storage.part_file import PartFile

root = Path(sys.argv[1])
buffer = memoryview(bytearray(4))
uses = {
    "open": lambda part: None,
    "write": lambda part: part.write_at([b"data"], 0),
    "read": lambda part: part.read_at(buffer, 0),
    "allocate": lambda part: part.allocate(1000),
    "discard": lambda part: part.discard(),
    "cut": lambda part: part.truncate(2),
    "sync": lambda part: part.write_checkpoint(Checkpoint(written=((0, 4),))),
    "publish": lambda part: part.publish("film.mkv", overwrite=False),
    "forget": lambda part: part.remove_working_files(),
}
for number, line in enumerate(sys.stdin):
    use, rule = line.rstrip("\\n").split(" ", 1)
    folder = root / f"f{number}"
    answer = "ok"
    try:
        if use == "open":
            Path(sys.argv[2]).write_text(rule)
        with PartFile(folder, "01890a5d-ac96-774b-bcce-b302099a8057") as part:
            part.write_at([b"data"], 0)
            Path(sys.argv[2]).write_text(rule)
            uses[use](part)
    except SeenError as error:
        answer = error.code
    except OSError as error:
        answer = f"raised {error!r}"
    Path(sys.argv[2]).write_text("")
    found = folder.iterdir() if folder.exists() else []
    names = sorted(path.name for path in found if path.name[0] != ".")
    print(json.dumps([answer, names]), flush=True)
"""

#: What is done, which call is refused, with what: the code of the error, or "ok".
REAL: list[tuple[str, str, str, str]] = [
    *[
        ("open", "mkdir", name, "disk_unavailable")
        for name in ("EROFS", "EIO", "ESTALE", "EACCES", "EPERM")
    ],
    *[
        ("open", "mkdir", name, "bad_path")
        for name in ("ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EINVAL")
    ],
    ("open", "mkdir", "ENOSPC", "disk_full"),
    ("open", "mkdir", "EDQUOT", "disk_full"),
    ("open", "mkdir", "ENOMEM", "worker_resources"),
    *[
        ("open", "open", name, "disk_unavailable")
        for name in (
            "EROFS",
            "EIO",
            "ESTALE",
            "EACCES",
            "EPERM",
            "ENODEV",
            "ETIMEDOUT",
            "EHOSTDOWN",
            "ENOTCONN",
        )
    ],
    *[("open", "open", name, "disk_full") for name in ("ENOSPC", "EDQUOT")],
    *[
        ("open", "open", name, "worker_resources")
        for name in ("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS")
    ],
    ("open", "open", "ENOTDIR", "bad_path"),
    *[
        ("open", "flock", name, "unsuitable_folder")
        for name in ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL")
    ],
    ("open", "flock", "EWOULDBLOCK", "part_file_busy"),
    ("open", "flock", "EIO", "disk_unavailable"),
    *[
        ("write", "pwrite", name, code)
        for name, code in (
            ("ENOSPC", "disk_full"),
            ("EDQUOT", "disk_full"),
            ("EFBIG", "too_large"),
            ("EIO", "disk_unavailable"),
            ("EROFS", "disk_unavailable"),
            ("ESTALE", "disk_unavailable"),
            ("EPERM", "disk_unavailable"),
            ("EREMOTEIO", "disk_unavailable"),
            ("ENOMEM", "worker_resources"),
            ("EINVAL", "disk_error"),
        )
    ],
    *[
        ("read", "pread", name, code)
        for name, code in (
            ("EIO", "disk_unavailable"),
            ("ESTALE", "disk_unavailable"),
            ("EINVAL", "disk_error"),
        )
    ],
    *[
        ("allocate", "fallocate", name, code)
        for name, code in (
            ("EOPNOTSUPP", "ok"),
            ("ENOSYS", "ok"),
            ("EINVAL", "ok"),
            ("EPERM", "ok"),
            ("EINTR", "ok"),
            ("ENODEV", "ok"),
            ("ENOSPC", "disk_full"),
            ("EFBIG", "too_large"),
            ("EIO", "disk_unavailable"),
        )
    ],
    *[
        (use, "ftruncate", name, code)
        for use in ("discard", "cut")
        for name, code in (
            ("EIO", "disk_unavailable"),
            ("EROFS", "disk_unavailable"),
            ("EFBIG", "too_large"),
        )
    ],
    *[
        ("sync", "fdatasync", name, code)
        for name, code in (
            ("EIO", "disk_unavailable"),
            ("ENOSPC", "disk_full"),
            ("EDQUOT", "disk_full"),
            ("EROFS", "disk_unavailable"),
        )
    ],
    *[
        ("publish", "fsync", name, code)
        for name, code in (
            ("EIO", "disk_unavailable"),
            ("ENOSPC", "disk_full"),
            ("ESTALE", "disk_unavailable"),
        )
    ],
    *[
        (use, call, name, "ok")
        for use, call in (("sync", "fdatasync"), ("sync", "fsync"), ("publish", "fsync"))
        for name in ("EINVAL", "ENOTSUP", "ENOSYS")
    ],
    *[
        ("publish", "fchmod", name, "ok")
        for name in ("EPERM", "EACCES", "EINVAL", "ENOTSUP", "ENOSYS")
    ],
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[str]]]:
    """What one process answers to every line of REAL."""
    folder = tmp_path_factory.mktemp("refusals")
    disk = RefusingDisk(folder)
    lines = [f"{use} {call} {getattr(errno, name)} {folder}/f" for use, call, name, _ in REAL]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), disk.environment["TEST_REFUSALS"]],
        input="\n".join(lines),
        cwd=ROOT,
        env={**os.environ, **disk.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(REAL)), ids=[" ".join(line) for line in REAL])
def test_a_part_file_meets_each_refusal(answers: list[tuple[str, list[str]]], number: int) -> None:
    use, _call, _name, expected = REAL[number]
    answer, names = answers[number]
    assert answer == expected
    assert names == (["film.mkv"] if (use, answer) == ("publish", "ok") else [])
