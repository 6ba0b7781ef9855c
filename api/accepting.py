"""From the body of a request to accepted jobs: what a caller over HTTP may ask for, and its checks.

The checks are those of `domain.request` and `tasks.api.submit`, as for the command line. On top of them
(docs/api.md has the table): nothing leaves the download folder, and what would reach other users' files
or this network is for admins alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_args

from api.problems import FieldProblem, InvalidFieldsError
from domain.access import Principal, Role, owner_for
from domain.errors import ForbiddenError, InvalidInputError, SeenError
from domain.job import Job, SubmittedJob
from domain.request import DownloadRequest
from domain.urls import host_of
from tasks.api.submit import check_folders, fields_of, submit_many
from worker.runtime import Runtime
from worker.transfer.http.address_guard import AddressGuard

#: Knows no network that is allowed beside the public ones.
_PUBLIC_ONLY = AddressGuard()
_LOCAL_NAMES = (".localhost", ".local", ".internal")

_Submit = Callable[[Sequence[DownloadRequest]], list[SubmittedJob]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one request."""

    outcome: SubmittedJob | SeenError


def accept(
    raw: Sequence[Mapping[str, Any]],
    principal: Principal,
    runtime: Runtime,
    *,
    each: bool,
    key: str | None,
    prefix: str = "",
    paused: bool = False,
) -> list[Accepted]:
    """Accept downloads, all or none, or each for itself; return what became of them, in order.

    Args:
        raw: the requests, as JSON.
        principal: who asks.
        runtime: of this process.
        each: a refused one does not refuse the others.
        key: makes a repetition of all of them return the same jobs; None without.
        prefix: the JSON pointer of the list, for errors.
        paused: new jobs are paused, and do not start before they are resumed.

    Raises:
        InvalidFieldsError: one or more are not valid, unless `each`; nothing was stored.
        ForbiddenError: this caller may not ask for one of them, unless `each`; nothing was stored.
        DatabaseUnavailableError: nothing was stored.
    """
    check_directory = cache(partial(_check_directory, runtime=runtime))  # most have the same
    checked = [
        _checked(one, principal, check_directory, key and f"{key}:{number}")
        for number, one in enumerate(raw)
    ]
    wanted = [one for one in checked if isinstance(one, DownloadRequest)]
    submit = partial(submit_many, runtime=runtime, paused=paused)
    if not each:
        _refuse_all(checked, prefix)
        return [Accepted(job) for job in submit(wanted)]
    jobs = iter(_submit_each(wanted, submit))
    return [next(jobs) if isinstance(one, DownloadRequest) else Accepted(one) for one in checked]


def checked_change(
    job: Job, changes: Mapping[str, Any], principal: Principal, runtime: Runtime
) -> DownloadRequest:
    """Return the request of a job with other fields, checked as if this caller had submitted it.

    Raises:
        InvalidInputError: one is not valid.
        ForbiddenError: this caller may not ask for it.
        PermanentError: the job's headers or login cannot be decrypted.
    """
    raw = {**fields_of(job, runtime.credential_cipher), **changes}
    checked = _checked(raw, principal, partial(_check_directory, runtime=runtime), None)
    if isinstance(checked, SeenError):
        raise checked
    return checked.model_copy(update={"user_id": job.user_id})


def _refuse_all(checked: Sequence[DownloadRequest | SeenError], prefix: str) -> None:
    """Raise for the requests that are refused: with all that are not valid, or the first other one."""
    problems = []
    for number, one in enumerate(checked):
        place = f"{prefix}/{number}" if prefix else ""
        if isinstance(one, InvalidInputError):
            pointer = f"{place}/{one.field.replace('.', '/')}"
            problems.append(FieldProblem(pointer=pointer, detail=str(one)))
        elif isinstance(one, SeenError):
            raise one
    if problems:
        raise InvalidFieldsError(problems)


def _submit_each(wanted: Sequence[DownloadRequest], submit: _Submit) -> list[Accepted]:
    """Submit all in one transaction; one by one, if one of them cannot be stored."""
    try:
        return [Accepted(job) for job in submit(wanted)]
    except SeenError:
        return [_submit_one(one, submit) for one in wanted]


def _submit_one(request: DownloadRequest, submit: _Submit) -> Accepted:
    try:
        return Accepted(submit([request])[0])
    except SeenError as error:
        return Accepted(error)


def _checked(
    raw: Mapping[str, Any],
    principal: Principal,
    check_directory: Callable[[str], None],
    key: str | None,
) -> DownloadRequest | SeenError:
    """Return the request; or the error that refuses it."""
    try:
        _refuse_conversions(raw)
        request = DownloadRequest.model_validate(raw)
        return _allowed(request, principal, check_directory, key)
    except SeenError as error:
        return error


def _refuse_conversions(raw: Mapping[str, Any]) -> None:
    """Refuse "5" and 5.0 as numbers, and 1 as true: in JSON each is another type.

    Pydantic's strict mode refuses a list for a tuple, too, which JSON does not have.
    """
    for name, value in raw.items():
        wanted = _EXACT.get(name)
        if wanted is not None and value is not None and type(value) is not wanted:
            raise InvalidInputError(name, value, _REMEDIES[wanted])


#: The fields that are numbers or truth values in JSON.
_EXACT = {
    name: next(
        kind for kind in (bool, int) if kind in (field.annotation, *get_args(field.annotation))
    )
    for name, field in DownloadRequest.model_fields.items()
    if {bool, int} & {field.annotation, *get_args(field.annotation)}
}
_REMEDIES = {bool: "It must be true or false.", int: "It must be a whole number."}


def _allowed(
    request: DownloadRequest,
    principal: Principal,
    check_directory: Callable[[str], None],
    key: str | None,
) -> DownloadRequest:
    """Return the request with its owner and its key; raise if this caller may not ask for it."""
    owner = owner_for(principal, request.user_id)
    check_directory(request.directory)
    if principal.role is not Role.ADMIN and request.overwrite:
        raise ForbiddenError(
            "overwrite: only an admin replaces files, which may be those of other users."
        )
    named = {"url": [request.url], "mirrors": request.mirrors, "webhook": [request.webhook]}
    for field, urls in named.items():
        check_hosts(principal, field, [url for url in urls if url is not None])
    if key is not None and request.idempotency_key is not None:
        raise InvalidInputError(
            "idempotency_key", request.idempotency_key, "The header Idempotency-Key is given, too."
        )
    changes = {"user_id": owner} | ({} if key is None else {"idempotency_key": key})
    return request.model_copy(update=changes)


def _check_directory(directory: str, runtime: Runtime) -> None:
    """Refuse absolute folders, whatever the settings allow: callers are on other machines."""
    if directory.startswith("/"):
        raise InvalidInputError(
            "directory", directory, "It is relative to the download folder of the service."
        )
    check_folders([directory], runtime)


def check_hosts(principal: Principal, field: str, urls: Iterable[str]) -> None:
    """Refuse what is plainly in this network, unless an admin asks for it.

    Workers check every address that a name resolves to, for all callers.

    Raises:
        ForbiddenError: a host of these URLs is not public, and the caller is no admin.
    """
    if principal.role is Role.ADMIN:
        return
    for url in urls:
        host = host_of(url) or ""
        # A name without a dot is one of this network: the Internet has none, a container network has.
        is_local_name = host.endswith(_LOCAL_NAMES) or not {".", ":"} & set(host)
        if is_local_name or not _PUBLIC_ONLY.allows_host(host):
            raise ForbiddenError(
                f"{field}: {host} is not a public host, and only an admin names one of this network."
            )
