"""Options of downloads that exist, and of the service: read and changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.accepting import checked_change
from api.rpc import options as aria2_options
from api.rpc.adding import invalid, placed
from api.rpc.callers import Caller
from api.rpc.controlling import OK
from api.rpc.errors import RpcError
from api.rpc.options import CHECKSUMS, HEADERS, OPTIONS, Draft, problem
from api.rpc.reading import MOST_STOPPED
from api.rpc.structs import Structs
from domain.access import Scope
from domain.errors import InvalidInputError
from domain.job import Job
from domain.limits import MAX_RATE, TOTAL, check_rate, job_scope, parse_downloads
from tasks.api.submit import revise
from worker.runtime import Runtime

_JOB_RATE, _TOTAL_RATE = "max-download-limit", "max-overall-download-limit"
_CONCURRENCY = "max-concurrent-downloads"
#: Options of `aria2.addUri` that cannot be changed in aria2 either, which ignores them here.
_FIXED = frozenset({"pause"})
_TOO_LATE = (
    "It can be changed until the download starts for the first time, unless it was added with an "
    "Idempotency-Key. Remove it, and add another one."
)
#: Names that aria2 has for these options of a deployment; they are in its settings.
_SETTINGS = {
    "dir": "SEEN_DOWNLOAD_DIR",
    "split": "SEEN_CONNECTIONS",
    "max-connection-per-server": "SEEN_CONNECTIONS",
    "max-tries": "SEEN_MAX_ATTEMPTS",
    "user-agent": "SEEN_USER_AGENT",
    _JOB_RATE: "the option of a download",
}


def get_option(caller: Caller, gid: str) -> dict[str, str]:
    """Return the options of a download; headers and logins are not shown."""
    return _options_of(caller.job(gid, Scope.READ), caller)


def _options_of(job: Job, caller: Caller) -> dict[str, str]:
    runtime, scope = caller.runtime, job_scope(job.id)
    rate = _shown(runtime.cache.limits.rates().get(scope, job.max_rate or 0))
    connections = str(job.connections or runtime.settings.connections)
    found = {
        "allow-overwrite": str(job.overwrite).lower(),
        "auto-file-renaming": "true",
        "continue": "true",
        "dir": Structs(caller).folder(job),
        "max-connection-per-server": connections,
        _JOB_RATE: rate,
        "max-tries": str(job.max_attempts),
        "split": connections,
    }
    if job.name is not None:
        found["out"] = job.name
    if job.checksum is not None:
        found["checksum"] = _aria2_checksum(job.checksum)
    return found


def change_option(caller: Caller, gid: str, options: Mapping[str, Any]) -> str:
    """Change the limit of a download at any time, other options until a worker has claimed it.

    An option that has the value already changes nothing: clients send back what they were shown.
    """
    job = caller.job(gid, Scope.CONTROL)
    if job.is_finished:
        raise RpcError(f"Cannot change option for GID#{caller.gid}")
    rates: dict[str, int | None] = {}
    draft, current = Draft(job.url), _options_of(job, caller)
    changed: dict[str, None] = {}
    for name, value in aria2_options.values(options):
        aria2_options.refuse(name, value)
        if name == _JOB_RATE:
            rates[job_scope(job.id)] = _rate(name, value, has_default=bool(job.max_rate))
        elif name in OPTIONS and name not in _FIXED and value != current.get(name):
            aria2_options.use(name, value, draft)
            changed[name] = None
    if changed:
        _revise(job, draft, list(changed), caller)
    if rates:
        caller.runtime.cache.limits.set_rates(rates)
    return OK


def _revise(job: Job, draft: Draft, names: Sequence[str], caller: Caller) -> None:
    """Change what a download asks for that no worker has claimed yet.

    Raises:
        RpcError: a worker has claimed it, or a value is not valid; nothing was written.
        SeenError: this caller may not ask for it; nothing was written.
    """
    if job.fence:
        raise problem(names[0], _TOO_LATE)
    runtime = caller.runtime
    fields = _changes(job, draft, names, runtime)
    try:
        request = checked_change(job, fields, caller.principal, runtime)
    except InvalidInputError as error:
        raise invalid(error) from None
    if revise(job, request, what=", ".join(names), runtime=runtime) is None:
        raise problem(names[0], _TOO_LATE)


def _changes(job: Job, draft: Draft, names: Sequence[str], runtime: Runtime) -> dict[str, Any]:
    """Return the fields of the request that a draft changes; a header that is left out stays."""
    fields = draft.request()
    del fields["url"]
    if {"directory", "out_folder"} & fields.keys():
        fields = placed({"directory": job.directory, **fields}, runtime)
    replaced = {header for name in names for header in HEADERS.get(name, ())}
    of_options = {header for some in HEADERS.values() for header in some}
    secrets = runtime.credential_cipher.decrypt(job)
    kept = {
        name: value
        for name, value in secrets.headers.items()
        if name.lower() not in {*replaced, *draft.headers}
        and ("header" not in names or name.lower() in of_options)
    }
    fields["headers"] = {**kept, **fields.get("headers", {})}
    if "header" in names:
        fields.setdefault("cookies", None)
    return fields


def get_global_option(caller: Caller) -> dict[str, str]:
    """Return the options of the service that have aria2's meaning."""
    runtime = caller.runtime
    settings = runtime.settings
    rate = _shown(runtime.cache.limits.rates().get(TOTAL, settings.max_rate))
    most = runtime.cache.limits.most_downloads()
    return {
        "allow-overwrite": "false",
        "auto-file-renaming": "true",
        "continue": "true",
        "dir": str(runtime.resolve("")),
        _CONCURRENCY: str(most or settings.max_downloads or settings.download_concurrency),
        "max-connection-per-server": str(settings.connections),
        _JOB_RATE: "0",
        "max-download-result": str(MOST_STOPPED),
        _TOTAL_RATE: rate,
        "max-tries": str(settings.max_attempts),
        "split": str(settings.connections),
        "user-agent": settings.user_agent,
    }


def change_global_option(caller: Caller, options: Mapping[str, Any]) -> str:
    """Change the limits of all downloads: of their rate, and of how many run at once."""
    changes: dict[str, int | None] = {}
    most: int | None = None
    current = get_global_option(caller)
    for name, value in aria2_options.values(options):
        aria2_options.refuse(name, value)
        if name == _TOTAL_RATE:
            changes[TOTAL] = _rate(name, value, has_default=bool(caller.runtime.settings.max_rate))
        elif value == current.get(name):
            continue
        elif name == _CONCURRENCY:
            most = _downloads(name, value)
        elif name in _SETTINGS:
            raise problem(name, f"It is set for the service: {_SETTINGS[name]}.")
        elif name in OPTIONS:
            raise problem(name, "It is an option of a download.")
    if changes:
        caller.runtime.cache.limits.set_rates(changes)
    if most is not None:
        caller.runtime.cache.limits.set_most_downloads(most)
    return OK


def _downloads(name: str, value: str) -> int:
    try:
        return parse_downloads(value)
    except InvalidInputError as error:
        raise problem(name, error.remedy) from None


def _rate(name: str, value: str, *, has_default: bool) -> int | None:
    """Return a limit in bytes a second; None for 0, which is no limit.

    Where there is a limit by default, the highest one takes its place.
    """
    try:
        rate = aria2_options.size(value)
        if not rate:
            return MAX_RATE if has_default else None
        return check_rate(rate)
    except InvalidInputError as error:
        raise problem(name, error.remedy) from None
    except ValueError as error:
        raise problem(name, str(error)) from None


def _shown(rate: int) -> str:
    return str(rate) if rate < MAX_RATE else "0"


def _aria2_checksum(checksum: str) -> str:
    kind, _, digest = checksum.partition(":")
    names = {ours: theirs for theirs, ours in CHECKSUMS.items()}
    return f"{names.get(kind, kind)}={digest}"
