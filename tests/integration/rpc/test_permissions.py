"""Who may call what: every method, every role, an own, a foreign and an unknown job."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from api.rpc.gids import gid_of
from api.rpc.methods import METHODS
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tests.support.aria2 import Rpc, rpc
from tests.support.services.http_api import USERS, HttpApi

FORBIDDEN = "This needs the scope"


class Verdict(NamedTuple):
    """What each caller gets: "" for success, or the beginning of the error's message.

    Attributes:
        admin, owner, other, viewer: for an admin, the job's owner, another user, a viewer.
        params: behind the token; `<gid>` is the GID of Ada's job.
        status: of the job.
    """

    admin: str
    owner: str
    other: str
    viewer: str
    params: tuple[Any, ...] = ()
    status: JobStatus = JobStatus.QUEUED


GID, UNKNOWN = "<gid>", "GID <gid> is not found"
S = JobStatus


def _of_job(*further: Any, status: JobStatus = S.QUEUED, everyone: str = "") -> Verdict:
    """A method that changes a job."""
    return Verdict(everyone, everyone, UNKNOWN, FORBIDDEN, (GID, *further), status)


def _reading(*further: Any, everyone: str = "") -> Verdict:
    """A method that reads a job."""
    return Verdict(everyone, everyone, UNKNOWN, everyone, (GID, *further))


def _all(*params: Any) -> Verdict:
    return Verdict("", "", "", "", params)


def _changing(*params: Any) -> Verdict:
    return Verdict("", "", "", FORBIDDEN, params)


def _refused(message: str, *params: Any) -> Verdict:
    return Verdict(message, message, message, FORBIDDEN, params)


STOPPED = "The service is not stopped"
VERDICTS = {
    "aria2.addUri": _changing(["https://example.org/<gid>"]),
    "aria2.addTorrent": _refused("BitTorrent is not supported", "AAAA"),
    "aria2.addMetalink": _refused("Metalink is not supported", "AAAA"),
    "aria2.remove": _of_job(),
    "aria2.forceRemove": _of_job(),
    "aria2.pause": _of_job(),
    "aria2.forcePause": _of_job(),
    "aria2.pauseAll": _changing(),
    "aria2.forcePauseAll": _changing(),
    "aria2.unpause": _of_job(status=S.PAUSED),
    "aria2.unpauseAll": _changing(),
    "aria2.tellStatus": _reading(),
    "aria2.getUris": _reading(),
    "aria2.getFiles": _reading(),
    "aria2.getPeers": _reading(everyone="No peer data is available for GID#<gid>"),
    "aria2.getServers": _reading(everyone="No active download for GID#<gid>"),
    "aria2.tellActive": _all(),
    "aria2.tellWaiting": _all(0, 10),
    "aria2.tellStopped": _all(0, 10),
    "aria2.changePosition": _of_job(0, "POS_SET"),
    "aria2.changeUri": _refused("The URIs of a download cannot be changed", GID),
    "aria2.getOption": _reading(),
    "aria2.changeOption": _of_job({"max-download-limit": "20K"}),
    "aria2.getGlobalOption": _all(),
    "aria2.changeGlobalOption": Verdict("", FORBIDDEN, FORBIDDEN, FORBIDDEN, ({},)),
    "aria2.getGlobalStat": _all(),
    "aria2.purgeDownloadResult": _changing(),
    "aria2.removeDownloadResult": _of_job(status=S.CANCELLED),
    "aria2.getVersion": _all(),
    "aria2.getSessionInfo": _all(),
    "aria2.shutdown": Verdict(STOPPED, FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "aria2.forceShutdown": Verdict(STOPPED, FORBIDDEN, FORBIDDEN, FORBIDDEN),
    "aria2.saveSession": _changing(),
    "system.listMethods": _all(),
    "system.listNotifications": _all(),
}
PUBLIC = {"system.listMethods", "system.listNotifications", "system.multicall"}


def test_every_method_has_a_verdict() -> None:
    assert {*VERDICTS, "system.multicall"} == set(METHODS)
    assert {name for name, method in METHODS.items() if method.scope is None} == PUBLIC


def test_every_method_that_is_listed_has_a_verdict(api: HttpApi) -> None:
    listed = {*rpc(api, "vic").call("system.listMethods")}
    refused = {name for name, method in METHODS.items() if not method.is_supported}
    assert listed | refused == {*VERDICTS, "system.multicall"}


@pytest.mark.parametrize("is_batch", [False, True])
@pytest.mark.parametrize("user", ["eve", "vic"])
def test_verdicts_are_the_same_for_many_calls_at_once(
    api: HttpApi, user: str, is_batch: bool
) -> None:
    client = rpc(api, user)
    gids = {name: gid_of(_job(api, one.status).id) for name, one in VERDICTS.items()}
    params = {
        name: client.params(*_params(one, gids[name]))
        for name, one in VERDICTS.items()
        if name not in PUBLIC
    }
    if is_batch:
        calls = [{"id": name, "method": name, "params": some} for name, some in params.items()]
        answers = [one.get("error") for one in client.send(calls).json()]
    else:
        inner = [{"methodName": name, "params": some} for name, some in params.items()]
        body = {"id": 1, "method": "system.multicall", "params": [inner]}
        found = client.send(body).json()["result"]
        answers = [None if isinstance(one, list) else one for one in found]
    for name, error in zip(params, answers, strict=True):
        expected = _expected(VERDICTS[name], user, gids[name])
        assert bool(error) is bool(expected), name
        assert error is None or error["message"].startswith(expected), name


def _expected(verdict: Verdict, user: str, gid: str) -> str:
    by_user = {"root": verdict.admin, "ada": verdict.owner, "eve": verdict.other}
    return {**by_user, "vic": verdict.viewer}[user].replace(GID, gid)


def _params(verdict: Verdict, gid: str) -> list[Any]:
    filled: list[Any] = []
    for one in verdict.params:
        filled.append([text.replace(GID, gid) for text in one] if isinstance(one, list) else one)
    return [gid if one == GID else one for one in filled]


def _job(api: HttpApi, status: JobStatus) -> Job:
    job = api.job_of("ada", new_job_id())
    if status is not job.status:
        runtime = api.system.runtime
        runtime.jobs.transition(job, status, now=runtime.now(), reason="test")
    return job


@pytest.mark.parametrize("method", VERDICTS)
def test_verdicts(api: HttpApi, method: str) -> None:
    verdict = VERDICTS[method]
    for user in USERS:
        gid = gid_of(_job(api, verdict.status).id)
        before, expected = api.written(), _expected(verdict, user, gid)
        answer = rpc(api, user).answer(method, *_params(verdict, gid))
        message = answer.get("error", {}).get("message", "")
        assert message.startswith(expected), user
        assert bool(message) is bool(expected), user
        if expected:
            assert answer["error"]["code"] == 1
            assert api.written() == before


OF_A_JOB = [name for name, verdict in VERDICTS.items() if GID in verdict.params]


@pytest.mark.parametrize("method", OF_A_JOB)
def test_foreign_and_unknown_jobs_cannot_be_told_apart(api: HttpApi, method: str) -> None:
    verdict = VERDICTS[method]
    unknown, gid = gid_of(new_job_id()), gid_of(_job(api, verdict.status).id)
    absent = {user: rpc(api, user).answer(method, *_params(verdict, unknown)) for user in USERS}
    foreign = rpc(api, "eve").answer(method, *_params(verdict, gid))
    assert str(foreign).replace(gid, GID) == str(absent["eve"]).replace(unknown, GID)
    if method == "aria2.changeUri":
        return  # it is refused whatever the job
    for user, answer in absent.items():
        no_right = user == "vic" and verdict.viewer == FORBIDDEN
        expected = FORBIDDEN if no_right else f"GID {unknown} is not found"
        assert answer["error"]["message"].startswith(expected), user


@pytest.mark.parametrize("token", [None, "", "wrong", "seen_aaaaaaaa_" + "x" * 43])
def test_without_a_valid_token_nothing_is_done(api: HttpApi, token: str | None) -> None:
    client, gid = Rpc(api.url, token), gid_of(_job(api, S.QUEUED).id)
    before = api.written()
    for method in sorted(set(VERDICTS) - PUBLIC):
        answer = client.answer(method, *_params(VERDICTS[method], gid))
        assert answer["error"]["code"] == 1
        # After some wrong ones, the failures of this address are limited.
        assert answer["error"]["message"].startswith(("Unauthorized", "Too many"))
    assert api.written() == before


def test_lists_have_what_the_token_sees(api: HttpApi) -> None:
    mine = gid_of(_job(api, S.PAUSED).id)
    ended = gid_of(_job(api, S.CANCELLED).id)
    for user, is_seen in (("root", True), ("ada", True), ("eve", False), ("vic", True)):
        client = rpc(api, user)
        waiting = [one["gid"] for one in client.call("tellWaiting", 0, 10_000, ["gid"])]
        stopped = [one["gid"] for one in client.call("tellStopped", 0, 10_000, ["gid"])]
        assert (mine in waiting) is is_seen
        assert (ended in stopped) is is_seen
    stat = rpc(api, "eve").call("getGlobalStat")
    assert int(stat["numStoppedTotal"]) <= int(rpc(api, "root").call("getGlobalStat")["numStopped"])


def test_actions_on_all_change_what_the_token_may_change(api: HttpApi) -> None:
    job = _job(api, S.QUEUED)
    rpc(api, "eve").call("pauseAll")
    rpc(api, "eve").call("purgeDownloadResult")
    assert api.system.job(job).status is S.QUEUED
    rpc(api, "ada").call("pauseAll")
    assert api.system.job(job).status is S.PAUSED
    rpc(api, "ada").call("unpauseAll")
    assert api.system.job(job).status is S.QUEUED


def test_a_purge_removes_own_records_and_an_admins_those_of_no_one(api: HttpApi) -> None:
    runtime = api.system.runtime
    ada, no_one = _job(api, S.CANCELLED), api.system.submit("https://example.org/1")
    open_one = _job(api, S.QUEUED)
    runtime.jobs.transition(no_one, S.CANCELLED, now=runtime.now(), reason="test")
    rpc(api, "root").call("purgeDownloadResult")
    assert set(runtime.jobs.get_many([ada.id, no_one.id])) == {ada.id}
    rpc(api, "ada").call("purgeDownloadResult")
    assert set(runtime.jobs.get_many([ada.id, open_one.id])) == {open_one.id}


def test_a_viewer_sees_uris_without_their_secrets(api: HttpApi) -> None:
    url = "https://example.org/v?page=1&sig=hunter2"
    gid = rpc(api, "ada").call("addUri", [url, url + "3"])
    assert "hunter2" in str(rpc(api, "ada").call("tellStatus", gid))
    for method in ("tellStatus", "getUris", "getFiles"):
        assert "hunter2" not in str(rpc(api, "vic").call(method, gid))


def test_a_key_has_no_more_than_its_scopes(api: HttpApi) -> None:
    client = Rpc(api.url, api.new_key("ada", ["read"]))
    gid = gid_of(_job(api, S.QUEUED).id)
    assert client.call("tellStatus", gid, ["gid"]) == {"gid": gid}
    assert FORBIDDEN in client.answer("aria2.pause", gid)["error"]["message"]
    assert FORBIDDEN in client.answer("aria2.addUri", ["https://example.org/"])["error"]["message"]
