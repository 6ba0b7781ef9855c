"""Fixtures for all tests: real servers, fresh for each test; no two pytest processes share one."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environment import forget_developer_settings

# What is collected stays until the end, so looking for garbage in it would be in vain.
gc.disable()
# At import, before any module of the product can read a setting.
forget_developer_settings()
# Programs keep ignored signals ignored. Where `nohup` or a background shell started the tests, some are.
for _number, _handler in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

from tests.support.databases import KINDS, create_migrated, write_migrated  # noqa: E402
from tests.support.origins.origin import Origin  # noqa: E402
from tests.support.servers import process  # noqa: E402
from tests.support.servers.nginx import Nginx, find_nginx  # noqa: E402
from tests.support.servers.postgres import PostgresServer  # noqa: E402
from tests.support.stores.server import StoreServer  # noqa: E402

#: Rooms whose tests start programs, which keeps the processors busy.
_BUSY = ("chaos", "e2e")
#: The other rooms, whose tests rather wait: those with the longest files first, so that none ends last.
_WAITING = (
    "property",
    "integration/worker/storage",
    "integration/worker/transfer",
    "integration/worker",
    "integration/tasks",
    "integration",
)
_TESTS = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix files that keep the processors busy with files that wait: several run at a time.

    The busy ones are through when about two thirds of the others are: the last file to end is short.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    order: list[tuple[float, Path]] = []
    for are_busy, share in ((True, 0.65), (False, 1.0)):
        paths = [path for path in files if _is_in(path, _BUSY) is are_busy]
        paths.sort(key=_rank)
        order += [(share * number / len(paths), path) for number, path in enumerate(paths)]
    items[:] = [item for _, path in sorted(order) for item in files[path]]


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but not among modules and tests."""
    gc.freeze()
    gc.enable()


def _is_in(path: Path, rooms: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(_TESTS / room) for room in rooms)


def _rank(path: Path) -> int:
    rooms = (*_BUSY, *_WAITING)
    inside = (number for number, room in enumerate(rooms) if path.is_relative_to(_TESTS / room))
    return next(inside, len(rooms))


@pytest.fixture(scope="session")
def _shared_store() -> Iterator[StoreServer]:
    with StoreServer() as server:
        yield server


@pytest.fixture
def store(_shared_store: StoreServer) -> StoreServer:
    """The session's store, empty. A test that stops or pauses one takes `private_store`."""
    _shared_store.start()  # only after a test broke that rule
    _shared_store.flush()
    return _shared_store


@pytest.fixture
def private_store() -> Iterator[StoreServer]:
    """A store of the test's own, to stop, kill, pause and restart."""
    with StoreServer() as server:
        yield server


@pytest.fixture(scope="session")
def _shared_stand_in() -> Iterator[StoreServer]:
    with StoreServer(stand_in=True) as server:
        yield server


@pytest.fixture
def stand_in(_shared_stand_in: StoreServer) -> Iterator[StoreServer]:
    """The session's Redis behind Dragonfly's rules, empty; it refuses nothing more after the test."""
    _shared_stand_in.start()  # only after a test made it abort
    _shared_stand_in.flush()
    yield _shared_stand_in
    if _shared_stand_in.running:
        _shared_stand_in.accept()


@pytest.fixture
def private_stand_in() -> Iterator[StoreServer]:
    """A stand-in of the test's own, to stop, fill and make a replica of."""
    with StoreServer(stand_in=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL server. A test that stops it starts it again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The SQLAlchemy URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'seen.db'}"


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh empty PostgreSQL database."""
    postgres.start()  # only after a test left it stopped
    url = postgres.create_database()
    yield url
    postgres.start()
    postgres.drop_database(url)


@pytest.fixture
def migrated_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL of a migrated PostgreSQL database without a row."""
    postgres.start()  # only after a test left it stopped
    url = create_migrated(postgres)
    yield url
    postgres.start()
    postgres.drop_database(url)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The SQLAlchemy URL of a fresh empty database, once for each kind of database."""
    # Asked for by name, so that a test of SQLite starts no PostgreSQL.
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(params=KINDS)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The SQLAlchemy URL of a migrated database without a row, once for each kind of database."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("migrated_postgres_url")
        return url
    write_migrated(tmp_path / "seen.db")
    return f"sqlite:///{tmp_path / 'seen.db'}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An HTTP origin of the test's own that can misbehave."""
    with Origin() as server:
        yield server


@pytest.fixture(scope="session")
def nginx() -> Iterator[Nginx]:
    """The session's nginx: use file names of your own. Skips without nginx; fails when CI=true."""
    try:
        find_nginx()
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with Nginx() as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A free TCP port on 127.0.0.1."""
    return process.free_port()
