"""`POST /v1/downloads/actions`: one action on many downloads, by their ids or by a filter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter

from api.answers import Json
from api.authentication import CheckedRoute, Controller
from api.documented import problems
from api.models.downloads import (
    CONTROLS,
    MAX_DOWNLOADS,
    ActionResult,
    ManyActions,
    RefusedDownload,
    Selection,
)
from api.problems import FieldProblem, InvalidFieldsError
from api.services import TheServices
from domain.access import Principal, Scope, filter_for, require_job
from domain.job import JobFilter, JobStatus, Priority
from domain.limits import check_host
from tasks.api.control import ControlResult, control_many, control_matching
from tasks.api.move import move_many, move_matching
from tasks.api.remove import RemoveResult, remove_many, remove_matching
from worker.runtime import Runtime

router = APIRouter(prefix="/v1", tags=["downloads"], route_class=CheckedRoute)

_Result = ControlResult | RemoveResult


@router.post("/downloads/actions", response_model=ActionResult, responses=problems(404))
def act(services: TheServices, principal: Controller, body: ManyActions) -> Json:
    """Do one action with many downloads. An unknown id refuses all; nothing is changed then.

    A job whose state does not allow the action is in `refused`, and the others are changed.
    """
    _check(body)
    if body.ids is not None:
        ids = list(dict.fromkeys(body.ids))
        found = services.runtime.jobs.get_many(ids)
        for job_id in ids:
            require_job(principal, Scope.CONTROL, job_id, found.get(job_id))
        result = _by_ids(body)(ids, runtime=services.runtime)
    else:
        result = _by_filter(body, principal, services.runtime)
    return Json(_as_json(result))


def _check(body: ManyActions) -> None:
    """Raise InvalidFieldsError for fields that do not go together."""
    problems: list[FieldProblem] = []
    if (body.ids is None) == (body.filter is None):
        problems.append(FieldProblem(pointer="/ids", detail="Give ids or a filter, one of them."))
    if body.filter is not None and not body.filter.model_fields_set:
        problems.append(FieldProblem(pointer="/filter", detail="It selects by one field at least."))
    if (body.priority is None) is (body.action == "move"):
        problems.append(FieldProblem(pointer="/priority", detail="It is for move, which needs it."))
    if body.with_files and (body.action != "delete" or body.ids is None):
        problems.append(FieldProblem(pointer="/with_files", detail="It is for delete by ids."))
    if problems:
        raise InvalidFieldsError(problems)


def _by_ids(body: ManyActions) -> Callable[..., _Result]:
    if body.action == "delete":
        return partial(remove_many, with_files=body.with_files)
    if body.action == "move":
        return partial(_move_many, Priority(body.priority or ""))
    return partial(control_many, CONTROLS[body.action])


def _move_many(priority: Priority, ids: list[str], *, runtime: Runtime) -> ControlResult:
    return move_many(ids, priority, runtime=runtime)


def _by_filter(body: ManyActions, principal: Principal, runtime: Runtime) -> _Result:
    """Do the action with all jobs that the filter selects and the principal may change."""
    where = filter_for(principal, _where(body.filter or Selection()))
    if where is None:
        return ControlResult()
    if body.action == "delete":
        return remove_matching(where, runtime=runtime)
    if body.action == "move":
        return move_matching(where, Priority(body.priority or ""), runtime=runtime)
    return control_matching(CONTROLS[body.action], where, runtime=runtime)


def _where(selection: Selection) -> JobFilter:
    state, host = selection.state, selection.host
    return JobFilter(
        None if state is None else JobStatus(state),
        selection.user_id,
        None if host is None else check_host(host),
    )


def _as_json(result: _Result) -> ActionResult:
    changed = result.removed if isinstance(result, RemoveResult) else result.changed
    unchanged = [] if isinstance(result, RemoveResult) else result.unchanged
    refused: list[RefusedDownload] = [
        {"id": one.job_id, "code": one.code, "detail": str(one)}
        for one in result.refused[:MAX_DOWNLOADS]
    ]
    return {"changed": len(changed), "unchanged": len(unchanged), "refused": refused}
