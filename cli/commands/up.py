"""`seen up`: run the whole service on this machine, in the foreground."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import RefusedError
from cli.local_stack import environment
from cli.local_stack.download_folder import make_download_folder
from cli.local_stack.log_files import append_line, supervisor_log
from domain.errors import DatabaseUnavailableError
from domain.text import printable
from seen_local import discovery, stack_state
from seen_local.late_settings import settings_module
from seen_local.stack_state import StackState
from worker.logs import setup
from worker.process import listening, standard_streams

if TYPE_CHECKING:
    from cli.local_stack.supervisor import Supervisor
    from settings import Settings

logger = logging.getLogger(__name__)

#: Seconds between two lines with the numbers of jobs; without a terminal they would fill a file.
_STATUS_INTERVAL, _STATUS_INTERVAL_IN_A_FILE = 2.0, 60.0


def up(
    flower: Annotated[bool, typer.Option(help="Run Flower, Celery's web interface, too.")] = True,
    api: Annotated[bool, typer.Option(help="Serve the HTTP API, too.")] = True,
    download_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="The download folder (SEEN_DOWNLOAD_DIR).")
    ] = None,
) -> None:
    """Run store, workers, beat, Flower and the HTTP API on this machine until Ctrl-C.

    Other commands use them automatically: `seen add`, `seen list`, `seen watch`, `seen get`.
    """
    from cli.local_stack.supervisor import Supervisor

    standard_streams.prepare_service()
    is_json = setup.start("supervisor", stream=sys.stdout)
    settings = _settings(download_dir)
    if environment.has_store(settings):
        raise RefusedError(
            "SEEN_CACHE_ADDR names a store, so there is no local stack to run. Start `seen worker`, "
            "`seen worker --queue maintenance` and `seen beat`, or unset SEEN_CACHE_ADDR."
        )
    data_dir = environment.make_data_dir(settings)
    make_download_folder(settings.files_dir)
    log = _Log(data_dir)
    with stack_state.start_lock(data_dir):
        _refuse_second_stack(stack_state.running(data_dir))
        settings, flower_url = _flower(settings) if flower else (settings, "")
        settings, api_url = _api(settings) if api else (settings, "")
        supervisor = Supervisor(
            settings, on_demand=False, log=log.write, flower_url=flower_url, api_url=api_url
        )
        state = _start(supervisor)
    try:
        append_line(supervisor_log(data_dir), "started by seen up", "stack.started")
        _print_addresses(settings, state, is_log=is_json)
        supervisor.run(_print_job_counts())
    finally:
        log.write("stopping: downloads are checkpointed and stay queued", "stack.stopping")
        supervisor.stop()
        log.write("stopped", "stack.stopped")


def _start(supervisor: Supervisor) -> StackState:
    try:
        return supervisor.start()
    except BaseException:
        supervisor.stop()
        raise


class _Log:
    """What the supervisor reports: printed, and kept in its log."""

    def __init__(self, data_dir: Path) -> None:
        self._path = supervisor_log(data_dir)

    def write(self, line: str, event: str) -> None:
        """Print a line and append it to the log."""
        append_line(self._path, printable(line), event)
        _print_line(line, event)


def _settings(download_dir: str | None) -> Settings:
    if download_dir is not None:
        environment.override({"download_dir": download_dir})
    settings = environment.resolve_paths()
    environment.refuse_shared_database(settings)
    return settings


def _refuse_second_stack(state: StackState | None) -> None:
    if state is None:
        return
    what = (
        "A `seen get` runs the local stack" if state.on_demand else "`seen up` is already running"
    )
    raise RefusedError(f"{what}: {discovery.describe(state)}. Wait until it ends, or stop it.")


def _flower(settings: Settings) -> tuple[Settings, str]:
    """Choose a password and a port for Flower where none is configured; return its URL, too."""
    chosen: dict[str, object] = {}
    if not settings.flower_password.get_secret_value():
        chosen["flower_password"] = secrets.token_urlsafe(12)
    settings = environment.override(chosen | _free_port(settings, "flower"))
    url = listening.url(settings.flower_address, settings.flower_port)
    if not settings.flower_url:
        settings = environment.override({"flower_url": url})
    return settings, url


def _api(settings: Settings) -> tuple[Settings, str]:
    """Choose a port for the API where none is configured; return its URL, too."""
    rpc = {} if "aria2_rpc" in settings.model_fields_set else {"aria2_rpc": True}
    settings = environment.override({**rpc, **_free_port(settings, "api")})
    return settings, listening.url(settings.api_address, settings.api_port)


def _free_port(settings: Settings, server: str) -> dict[str, object]:
    """Return a free port for Flower or the API if the default one is in use."""
    name = f"{server}_port"
    address, port = getattr(settings, f"{server}_address"), getattr(settings, name)
    error = listening.refusal(address, port)
    if error is None:
        return {}
    if listening.is_in_use(error) and name not in settings.model_fields_set:
        return {name: listening.free_port(address)}
    text = listening.explain(address, port, error, server=server.upper())
    raise RefusedError(f"{text} --no-{server} runs the rest.")


def _print_addresses(settings: Settings, state: StackState, *, is_log: bool) -> None:
    """Print where the services are; in a log without the secrets of Flower and of the sign-in."""
    print("seen is up. Ctrl-C stops it.")
    print(f"  files    {state.download_dir}")
    print(f"  data     {settings.data_dir}  (logs in {settings.data_dir / 'logs'})")
    print(f"  store    {state.cache_addr}")
    if state.flower_url:
        password = "in stack.json" if is_log else state.flower_password
        login = f"user {state.flower_user}, password {password}"
        print(f"  Flower   {state.flower_url}  ({login})")
    if state.api_url:
        print(f"  API      {state.api_url}  (docs/api.md)")
        print(f"  page     {state.api_url if is_log else _page(state.api_url)}")
        if settings.aria2_rpc:
            print(f"  aria2    {state.api_url.rstrip('/')}/jsonrpc  (docs/aria2.md)")
    print("  try      seen open · seen add URL · seen list · seen watch", flush=True)


def _page(api_url: str) -> str:
    """Return the page's address, which signs an admin in once if there is one."""
    from cache import CacheManager
    from cli.commands.accounts.open_page import page_address
    from cli.context import ensure_schema
    from database import Database
    from domain.access import Principal
    from tasks.api.accounts import AccountParts, any_admin, create_link

    settings = settings_module.load()
    database = Database(settings.sqlalchemy_url())
    try:
        ensure_schema(settings, database)
        with CacheManager.connect(settings, retries=0) as cache:
            parts = AccountParts(settings=settings, database=database, cache=cache)
            admin = any_admin(runtime=parts)
            if admin is None:
                return api_url
            link = create_link(Principal.local(), admin.id, runtime=parts)
    finally:
        database.close()
    address = page_address(api_url, link.token)
    return f"{address}  (signs in {admin.id} once, within 10 minutes)"


def _print_job_counts() -> Callable[[], None]:
    """Return a function that prints the number of jobs in each state when it has changed.

    It keeps no connection: an open SQLite database must not be in the memory of processes that the
    supervisor forks.
    """
    from cli.context import ensure_schema
    from database import Database, JobRepository

    settings = settings_module.load()
    database = Database(settings.sqlalchemy_url())
    ensure_schema(settings, database)
    database.close()
    jobs = JobRepository(database)
    printed, next_at = "", 0.0
    interval = _STATUS_INTERVAL if sys.stdout.isatty() else _STATUS_INTERVAL_IN_A_FILE

    def tick() -> None:
        nonlocal printed, next_at
        if time.monotonic() < next_at:
            return
        next_at = time.monotonic() + interval
        try:
            counts = jobs.count_by_status()
        except DatabaseUnavailableError as error:
            # The stack goes on: workers wait for their database.
            _print_line(str(error), "stack.no_database")
            return
        finally:
            database.close()
        line = ", ".join(f"{count} {status.value}" for status, count in sorted(counts.items()))
        if line and line != printed:
            printed = line
            _print_line(line, "stack.jobs")

    return tick


def _print_line(text: str, event: str) -> None:
    if setup.uses_json():
        logger.info("%s", text, extra={"event": event})
    else:
        print(f"{datetime.now().astimezone():%H:%M:%S} {printable(text)}", flush=True)
