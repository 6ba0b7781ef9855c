"""The same calls to a real aria2 and to the whole service: what differs is what docs/aria2.md says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.aria2 import Rpc, RpcError, real_aria2, rpc
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until

SIZE = 300_000


@dataclass
class Script:
    """Makes calls, and keeps what they are answered with: GIDs by the names of the downloads."""

    client: Rpc
    folder: Path
    files: Mapping[str, str]
    names: dict[str, str] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def note(self, step: str, method: str, *params: Any) -> Any:
        """Make a call, and keep its result, or the error's message."""
        try:
            result = self.client.call(method, *params)
        except RpcError as error:
            result = f"error: {error}"
        self.found[step] = self._named(result)
        return result

    def add(self, name: str, file: str, **options: Any) -> str:
        """Add a download, and give it a name."""
        given = {key.replace("_", "-"): value for key, value in options.items()}
        gid = self.client.call("addUri", [self.files[file]], {"out": name, **given})
        self.names[gid] = name
        return str(gid)

    def wait(self, gid: str, status: str) -> None:
        """Wait until a download has a status."""
        keys = ["status"]
        wait_until(
            lambda: self.client.call("tellStatus", gid, keys) == {"status": status},
            deadline=60,
            what=f"{self.names[gid]} is {status}",
        )

    def _named(self, result: Any) -> Any:
        text = json.dumps(result)
        for gid, name in self.names.items():
            text = text.replace(gid, f"<{name}>")
        return json.loads(text.replace(str(self.folder), "<dir>"))


KEYS = ["status", "totalLength", "completedLength", "errorCode", "numPieces", "pieceLength"]
KEYS += ["uploadLength", "uploadSpeed", "connections", "dir", "gid"]
OF_ENDED = ("getUris", "getServers", "getPeers", "pause", "unpause", "remove", "forceRemove")


def _run(script: Script) -> dict[str, Any]:
    """Make all calls; return what each was answered with."""
    _describe(script)
    _download(script)
    _change(script)
    _fail(script)
    _control(script)
    _queue(script)
    _mistakes(script)
    _clear(script)
    return script.found


def _describe(script: Script) -> None:
    script.note("methods", "system.listMethods")
    script.note("notifications", "system.listNotifications")
    script.note("features", "getVersion")
    script.note("saveSession", "saveSession")


def _download(script: Script) -> None:
    gid = script.add("a.bin", "fast", dir=str(script.folder / "films"))
    script.wait(gid, "complete")
    script.note("complete", "tellStatus", gid, KEYS)
    script.note("complete: error", "tellStatus", gid, ["errorMessage"])
    script.found["complete: keys"] = sorted(script.client.call("tellStatus", gid))
    (file,) = script.client.call("getFiles", gid)
    script.found["complete: file"] = script._named(
        {name: file[name] for name in ("index", "path", "length", "completedLength", "selected")}
    )
    for method in OF_ENDED:
        script.note(f"complete: {method}", method, gid)
    script.note("complete: changeOption", "changeOption", gid, {"max-download-limit": "20K"})
    script.note("complete: changePosition", "changePosition", gid, 0, "POS_SET")
    script.note("complete: removeDownloadResult", "removeDownloadResult", gid)
    script.note("complete: removed", "tellStatus", gid)


def _change(script: Script) -> None:
    """Change a download before it starts: it is downloaded as it was changed."""
    gid = script.add("g.bin", "fast", pause="true")
    changes = {"out": "h.bin", "dir": str(script.folder / "other"), "header": "X-A: b"}
    script.note("changed", "changeOption", gid, {**changes, "max-download-limit": "1M"})
    options = script.client.call("getOption", gid)
    script.found["changed: options"] = script._named({one: options[one] for one in ("out", "dir")})
    script.note("changed: unpause", "unpause", gid)
    script.wait(gid, "complete")
    (file,) = script.client.call("getFiles", gid)
    script.found["changed: file"] = script._named(file["path"])
    script.found["changed: size"] = Path(file["path"]).stat().st_size
    script.note("changed: removeDownloadResult", "removeDownloadResult", gid)


def _fail(script: Script) -> None:
    gid = script.add("b.bin", "missing", max_tries="1")
    script.wait(gid, "error")
    script.note("error", "tellStatus", gid, ["status", "errorCode", "completedLength", "gid"])
    script.note("error: message", "tellStatus", gid, ["errorMessage"])
    script.note("error: stopped", "tellStopped", 0, 10, ["gid", "status"])


def _control(script: Script) -> None:
    gid = script.add("c.bin", "slow", pause="true", max_download_limit="20K")
    script.note("paused", "tellStatus", gid, KEYS)
    script.note("paused: files", "getFiles", gid)
    script.note("paused: uris", "getUris", gid)
    script.note("paused: pause", "pause", gid)
    script.note("paused: getServers", "getServers", gid)
    script.note("paused: removeDownloadResult", "removeDownloadResult", gid)
    script.note("paused: unpause", "unpause", gid)
    script.wait(gid, "active")
    script.note("active: unpause", "unpause", gid)
    script.note("active: list", "tellActive", ["gid", "status"])
    script.note("active: changePosition", "changePosition", gid, 0, "POS_SET")
    script.note("active: prefix", "tellStatus", gid[:12].upper(), ["gid"])
    servers = wait_until(lambda: _servers(script, gid), deadline=60, what="it has a server")
    script.found["active: servers"] = servers
    script.note("active: change", "changeOption", gid, {"max-download-limit": "30K"})
    options = script.client.call("getOption", gid)
    script.found["active: options"] = {
        name: options[name] for name in ("max-download-limit", "out", "auto-file-renaming")
    }
    script.note("active: pause", "pause", gid)
    script.wait(gid, "paused")
    script.note("active: unpause again", "unpause", gid)
    script.wait(gid, "active")
    script.note("active: remove", "remove", gid)
    script.wait(gid, "removed")
    script.note("removed", "tellStatus", gid, ["status", "errorCode"])
    script.note("removed: remove", "remove", gid)


def _servers(script: Script, gid: str) -> Any:
    found = script.client.call("getServers", gid)
    return found and [
        {**one, "servers": [sorted(server) for server in one["servers"]]} for one in found
    ]


def _queue(script: Script) -> None:
    gids = [script.add(f"{name}.bin", "slow", pause="true") for name in "def"]
    for bounds in ((0, 1), (1, 2), (0, 100), (-1, 2), (-3, 5), (-4, 5), (3, 1), (0, 0)):
        script.note(f"waiting {bounds}", "tellWaiting", *bounds, ["gid", "status"])
    script.note("to the front", "changePosition", gids[2], 0, "POS_SET")
    script.note("after that", "tellWaiting", 0, 100, ["gid"])
    script.note("wrong way", "changePosition", gids[2], 0, "POS_X")
    script.note("numbers", "getGlobalStat")
    script.note("unpauseAll", "unpauseAll")
    script.note("forcePauseAll", "forcePauseAll")
    for gid in gids:
        script.wait(gid, "paused")
    script.note("removed without a start", "remove", gids[0])
    script.note("it is then", "tellStatus", gids[0], ["status"])


UNKNOWN, URI = "0123456789abcdef", ["http://a.example/x"]
#: By what is wrong: calls that download nothing.
MISTAKES: dict[str, tuple[Any, ...]] = {
    "unknown GID": ("tellStatus", UNKNOWN),
    "invalid GID": ("tellStatus", "zz"),
    "empty GID": ("tellStatus", ""),
    "long GID": ("tellStatus", UNKNOWN + "0"),
    "no GID": ("tellStatus",),
    "GID as a number": ("tellStatus", 5),
    "keys as a number": ("tellActive", 5),
    "offset as a text": ("tellWaiting", "0", 1),
    "offset as a float": ("tellWaiting", 0.5, 0),
    "negative number": ("tellWaiting", 0, -1),
    "no URIs": ("addUri", []),
    "no list of URIs": ("addUri", URI[0]),
    "no URI": ("addUri", ["nonsense"]),
    "options as a list": ("addUri", URI, []),
    "position as a text": ("addUri", URI, {}, "0"),
    "negative position": ("addUri", URI, {}, -1),
    "unknown method": ("nope",),
    "too many params": ("getSessionInfo", 1, 2),
    "a proxy": ("addUri", URI, {"all-proxy": "zzz://"}),
    "split of 0": ("addUri", URI, {"split": "0"}),
    "limit of letters": ("addUri", URI, {"max-download-limit": "abc"}),
    "checksum of nothing": ("addUri", URI, {"checksum": "sha-9=00"}),
    "a torrent that is none": ("addTorrent", "AAAA"),
    "a metalink that is none": ("addMetalink", "AAAA"),
    "a torrent that is missing": ("addTorrent",),
    "multicall of nothing": ("system.multicall",),
    "global limit": ("changeGlobalOption", {"max-overall-download-limit": "0"}),
    "unknown global option": ("changeGlobalOption", {"nope": "1"}),
}


def _mistakes(script: Script) -> None:
    for name, (method, *params) in MISTAKES.items():
        script.note(name, method, *params)
    script.found["too many params"] = sorted(script.client.call("getSessionInfo"))
    several = [
        {"methodName": "system.listNotifications", "params": []},
        {"methodName": "aria2.nope", "params": script.client.params()},
        {"methodName": "aria2.getVersion", "params": []},
        {"methodName": "system.multicall", "params": [[]]},
        5,
        {"params": []},
    ]
    answer = script.client.send({"id": 1, "method": "system.multicall", "params": [several]})
    script.found["multicall"] = answer.json()


def _clear(script: Script) -> None:
    script.note("purge", "purgeDownloadResult")
    script.note("stopped then", "tellStopped", 0, 10, ["gid"])
    for gid in script.client.call("tellWaiting", 0, 100, ["gid"]):
        script.client.call("remove", gid["gid"])


def _without(*names: str) -> Callable[[Any, Any], bool]:
    """Return a check: ours lacks these of aria2's."""
    return lambda theirs, ours: [one for one in theirs if one not in names] == ours


def _goes_on(theirs: Any, ours: Any) -> bool:
    """Return whether our error is aria2's, and says more."""
    return str(ours).startswith(str(theirs)) and len(ours) > len(theirs)


def _only_differ(theirs: dict[str, str], ours: dict[str, str], *names: str) -> bool:
    return all(ours[name] == theirs[name] for name in theirs.keys() | ours if name not in names)


#: What differs, by step: what docs/aria2.md says of it, and a check of aria2's answer and ours.
DIFFERENCES: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "methods": (
        "without those that are refused",
        lambda theirs, ours: (
            set(theirs) - set(ours)
            == {
                *("aria2.addTorrent", "aria2.addMetalink", "aria2.changeUri"),
                *("aria2.shutdown", "aria2.forceShutdown"),
            }
            and set(ours) <= set(theirs)
        ),
    ),
    "features": (
        "no BitTorrent and Metalink; `seenVersion`",
        lambda theirs, ours: (
            set(ours) - set(theirs) == {"seenVersion"}
            and set(ours["enabledFeatures"]) < set(theirs["enabledFeatures"])
        ),
    ),
    "saveSession": (
        "does nothing: everything is saved always",
        lambda theirs, ours: theirs.startswith("error") and ours == "OK",
    ),
    "complete: keys": ("no `bitfield`", _without("bitfield")),
    "error: message": (
        "and our reason",
        lambda theirs, ours: "404" in ours["errorMessage"] and theirs != ours,
    ),
    "a proxy": ("A refused option gives aria2's error, with the reason", _goes_on),
    "split of 0": ("A refused option gives aria2's error, with the reason", _goes_on),
    "limit of letters": ("A refused option gives aria2's error, with the reason", _goes_on),
    "checksum of nothing": ("A refused option gives aria2's error, with the reason", _goes_on),
    "a torrent that is none": ("refused", lambda _theirs, ours: "BitTorrent is not" in ours),
    "a metalink that is none": ("refused", lambda _theirs, ours: "Metalink is not" in ours),
    "numbers": (
        "`numStoppedTotal` without removed records",
        lambda theirs, ours: _only_differ(theirs, ours, "numStoppedTotal", "downloadSpeed"),
    ),
    "it is then": (
        "also if it had not started; aria2 keeps only those that were active",
        lambda theirs, ours: (
            theirs == "error: GID <d.bin> is not found" and ours == {"status": "removed"}
        ),
    ),
}


@pytest.mark.skipif(shutil.which("aria2c") is None, reason="needs aria2c")
def test_what_differs_from_aria2_is_documented(
    api: HttpApi, files: Mapping[str, str], tmp_path: Path
) -> None:
    page = " ".join((Path(__file__).resolve().parents[4] / "docs" / "aria2.md").read_text().split())
    with real_aria2(tmp_path) as aria2:
        theirs = _run(Script(aria2, tmp_path, files))
    ours = _run(Script(rpc(api, "root"), api.system.downloads, files))
    assert list(theirs) == list(ours)
    different = {step: (theirs[step], ours[step]) for step in theirs if theirs[step] != ours[step]}
    undocumented = {step: found for step, found in different.items() if step not in DIFFERENCES}
    assert undocumented == {}
    assert set(different) == set(DIFFERENCES)
    for step, (said, is_as_said) in DIFFERENCES.items():
        assert said in page
        assert is_as_said(*different[step]), step
