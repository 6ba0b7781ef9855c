"""Secrets in files: `SEEN_X_FILE` names the file of the secret `SEEN_X`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import settings
from cli.local_stack import environment
from domain.errors import SettingsError
from settings import MAX_SECRET, Settings, load, read_secret

SECRETS = [name for name, field in Settings.model_fields.items() if settings.is_secret(field)]

#: A valid value of each secret.
VALUES = {
    "cache_password": "pass word",
    "broker_url": "redis://broker:6379/1",
    "result_url": "redis://results:6379/2",
    "database_url": "postgresql://seen:pw@db/seen",
    "database_password": "p@ss/wörd",
    "secret_key": "k" * 32,
    "proxy": "http://user:pw@proxy:3128",
    "flower_password": "open-sesame",
}

CONTENT = "do-not-show-this"


@pytest.fixture(autouse=True)
def _read_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`load` reads once a process; each test here is such a process."""
    for name in SECRETS:
        monkeypatch.delenv(f"SEEN_{name.upper()}", raising=False)
    load.cache_clear()
    yield
    load.cache_clear()


def secret(name: str) -> str:
    return str(getattr(load(), name).get_secret_value())


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load()
    assert CONTENT not in str(caught.value)
    return str(caught.value)


def test_every_secret_has_a_value_here() -> None:
    assert list(VALUES) == SECRETS


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{VALUES[name]}\n")
    if name == "database_password":
        monkeypatch.setenv("SEEN_DATABASE_URL", "postgresql://seen@db/seen")
    monkeypatch.setenv(f"SEEN_{name.upper()}_FILE", str(file))

    assert secret(name) == VALUES[name]
    assert VALUES[name] not in repr(load())


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_and_its_file_are_not_both_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(VALUES[name])
    monkeypatch.setenv(f"SEEN_{name.upper()}", VALUES[name])
    monkeypatch.setenv(f"SEEN_{name.upper()}_FILE", str(file))

    said = refusal()

    assert f"SEEN_{name.upper()}_FILE={str(file)!r}: SEEN_{name.upper()} is set, too" in said
    assert VALUES[name] not in said


@pytest.mark.parametrize("given", ["", None])
def test_without_a_file_the_variable_counts(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setenv("SEEN_CACHE_PASSWORD", "pw")
    if given is not None:
        monkeypatch.setenv("SEEN_CACHE_PASSWORD_FILE", given)

    assert secret("cache_password") == "pw"


def test_other_settings_have_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("7")
    monkeypatch.setenv("SEEN_CACHE_DB_FILE", str(tmp_path / "file"))

    assert load().cache_db == 0


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret"),
        (b"\xef\xbb\xbfsecret\r\n", "secret"),
        (b" with spaces \n", " with spaces "),
        ("gehèim\n".encode(), "gehèim"),
        (b"x" * MAX_SECRET, "x" * MAX_SECRET),
    ],
)
def test_what_editors_add_to_a_line_is_ignored(tmp_path: Path, content: bytes, read: str) -> None:
    (tmp_path / "secret").write_bytes(content)

    assert read_secret(tmp_path / "secret") == read


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


SHOWN = CONTENT.encode()
UNUSABLE: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda path: None, "it cannot be read (No such file or directory)"),
    ("a folder", Path.mkdir, "it is not a regular file"),
    ("a FIFO", os.mkfifo, "it is not a regular file"),
    ("a device", lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
    ("nothing", lambda path: path.symlink_to("/dev/null"), "it is not a regular file"),
    ("a socket", listen, "it cannot be read (No such device or address)"),
    ("a loop", lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ("below a file", lambda path: path.parent.touch(), "it cannot be read (Not a directory)"),
    ("empty", write(b""), "it is empty"),
    ("a line end", write(b"\r\n"), "it is empty"),
    ("spaces", write(b"  \n"), "it is empty"),
    ("a byte-order mark", write(b"\xef\xbb\xbf"), "it is empty"),
    ("huge", write(SHOWN * 10_000), "it has more than 64 KiB"),
    ("Latin-1", write(SHOWN + b"\xe9"), "its content is not UTF-8 text"),
    ("UTF-16", write(CONTENT.encode("utf-16")), "its content is not UTF-8 text"),
    ("two lines", write(SHOWN + b"\nmore\n"), "it has more than one line"),
    ("old Macs' lines", write(SHOWN + b"\rmore"), "it has more than one line"),
    ("a null", write(SHOWN + b"\0"), "a null character"),
]


@pytest.mark.parametrize(
    ("make", "says"), [row[1:] for row in UNUSABLE], ids=[r[0] for r in UNUSABLE]
)
def test_an_unusable_file_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "folder" / "secret"
    if says != "it cannot be read (Not a directory)":
        path.parent.mkdir()
    make(path)
    monkeypatch.setenv("SEEN_CACHE_PASSWORD_FILE", str(path))

    said = refusal()

    assert said.startswith(f"SEEN_CACHE_PASSWORD_FILE={str(path)!r}: ")
    assert says in said
    assert said.endswith("Its meaning: Password of the store.")


def test_a_file_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(CONTENT)

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    if os.geteuid() == 0:  # which may read everything
        monkeypatch.setattr("settings.os.open", refused)
    else:
        path.chmod(0)

    with pytest.raises(ValueError, match=rf"user {os.geteuid()} cannot read it \(Permission"):
        read_secret(path)


def test_content_that_is_not_valid_is_reported_by_the_name_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("do-not\n")
    monkeypatch.setenv("SEEN_SECRET_KEY_FILE", str(path))

    said = refusal()

    assert f"SEEN_SECRET_KEY_FILE={str(path)!r} is not valid: each key has at least 16" in said
    assert "do-not" not in said


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_place_of_a_path_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"SEEN_{name.upper()}_FILE", CONTENT)

    assert f"SEEN_{name.upper()}_FILE='***': it cannot be read" in refusal()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("sec/missing", True),
        ("sec/none/missing", False),
        ("none/missing", False),
        ("sec", False),
        ("missing", False),
        ("sec/", True),
        ("/none/missing", True),
        ("./missing", True),
        ("../missing", True),
        ("~/missing", True),
        ("gr/c0+T=", False),
        ("redis://:pw@host/0", False),
    ],
)
def test_a_relative_path_is_shown_if_its_folder_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, shown: bool
) -> None:
    (tmp_path / "sec").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEN_CACHE_PASSWORD_FILE", given)

    assert refusal().startswith(f"SEEN_CACHE_PASSWORD_FILE={given if shown else '***'!r}: ")


def test_all_wrong_files_and_variables_are_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(f"SEEN_{name.upper()}_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SEEN_CACHE_DB", "one")

    said = refusal().splitlines()

    assert {line.partition("=")[0] for line in said} == {
        *(f"SEEN_{name.upper()}_FILE" for name in SECRETS),
        "SEEN_CACHE_DB",
    }


@pytest.mark.parametrize("variable", ["SEEN_CACHE_PASSWORD_FILE", "seen_cache_password_file"])
def test_children_in_another_folder_find_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("pw\n")
    monkeypatch.setenv(variable, "secret")
    monkeypatch.setenv("SEEN_DATA_DIR", str(tmp_path))
    for name in ("DATA_DIR", "DOWNLOAD_DIR"):
        monkeypatch.setenv(f"SEEN_{name}", str(tmp_path))

    environment.resolve_paths()
    monkeypatch.chdir("/")
    load.cache_clear()

    assert secret("cache_password") == "pw"


@pytest.mark.parametrize("variable", ["SEEN_SECRET_KEY_FILE", "seen_secret_key_file"])
def test_a_setting_that_is_written_replaces_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "key").write_text("k" * 32)
    monkeypatch.setenv(variable, str(tmp_path / "key"))
    monkeypatch.setenv("SEEN_SECRET_KEY", "")

    changed = environment.override({"secret_key": f"{'k' * 32},{'l' * 32}"})

    assert changed.secret_keys == ("k" * 32, "l" * 32)


# ── the password of the database ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
@pytest.mark.parametrize("password", ["simple", "p@ss:w/rd?#%", "wörd ", "%2F"])
def test_the_databases_password_needs_no_quoting(scheme: str, password: str) -> None:
    from sqlalchemy.engine import make_url

    found = Settings(database_url=f"{scheme}://seen@db:5432/seen?a=b", database_password=password)

    url = make_url(found.sqlalchemy_url())
    assert (url.username, url.password, url.host, url.database) == ("seen", password, "db", "seen")
    assert url.drivername == "postgresql+psycopg"
    assert url.query == {"a": "b"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "names no PostgreSQL server"),
        ("sqlite:////data/seen.db", "names no PostgreSQL server"),
        ("postgresql://seen:other@db/seen", "has a password, too"),
        ("postgresql://seen@db/seen?password=other", "has a password, too"),
    ],
)
def test_a_database_password_without_a_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.setenv("SEEN_DATABASE_URL", url)
    monkeypatch.setenv("SEEN_DATABASE_PASSWORD", CONTENT)

    assert says in refusal()
