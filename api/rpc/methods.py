"""The table of methods: names, parameters, the permission that each needs, and what does it.

`system.listMethods`, the checks of permissions and docs/aria2.md come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from api.rpc import adding, changing, controlling, parameters, reading
from api.rpc.errors import RpcError
from api.rpc.parameters import Parameter
from domain.access import Scope

MULTICALL = "system.multicall"
NOTIFICATIONS = (
    "aria2.onDownloadStart",
    "aria2.onDownloadPause",
    "aria2.onDownloadStop",
    "aria2.onDownloadComplete",
    "aria2.onDownloadError",
    "aria2.onBtDownloadComplete",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method.

    Attributes:
        parameters: after the token.
        scope: what the caller needs; None: no token is needed.
        handler: gets the caller, unless no token is needed, and the values of the parameters.
        difference: from aria2, for the documentation; empty for none.
        is_supported: else it only explains why it is not.
    """

    parameters: tuple[Parameter, ...] = ()
    scope: Scope | None
    handler: Callable[..., Any]
    difference: str = ""
    is_supported: bool = True


def _refused(why: str, *needed: Parameter, scope: Scope = Scope.READ, difference: str) -> Method:
    """Return a method that is refused with a reason."""

    def refuse(*_arguments: object) -> NoReturn:
        raise RpcError(why)

    return Method(
        parameters=needed, scope=scope, handler=refuse, difference=difference, is_supported=False
    )


def list_methods() -> list[str]:
    """Return the names of all methods that work."""
    return [name for name, method in METHODS.items() if method.is_supported]


def list_notifications() -> list[str]:
    """Return the names of all notifications; that of torrents is never sent."""
    return list(NOTIFICATIONS)


def _no_handler(*_arguments: object) -> NoReturn:
    raise AssertionError("calls.py makes its calls")


_GID = Parameter("gid", parameters.text)
_KEYS = Parameter("keys", parameters.texts, is_required=False)
_OFFSET = Parameter("offset", parameters.whole)
_NUM = Parameter("num", parameters.count)
_OPTIONS = Parameter("options", parameters.struct)
_LIST_OPTIONS = Parameter("options", parameters.struct, is_required=False)
_POSITION = Parameter("position", parameters.place, is_required=False)
_URIS = Parameter("uris", parameters.texts)
_OF_ONE, _OF_LIST = (_GID, _KEYS), (_OFFSET, _NUM, _KEYS)
_TORRENT, _METALINK = Parameter("torrent", parameters.text), Parameter("metalink", parameters.text)

_READ, _CONTROL = Scope.READ, Scope.CONTROL
_STRUCT = "no `bitfield`; `connections` is 1 while active"
_ALL_SEEN = "of all downloads that the token sees: an admin's, of all users"
_STAYS = "it stays in the list as `removed`, also if it never started"

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "aria2.addUri": Method(
            parameters=(_URIS, _LIST_OPTIONS, _POSITION),
            scope=Scope.SUBMIT,
            handler=adding.add_uri,
            difference="the same download, not ended, gives the same GID; position 0 is the priority "
            "`high`, others are `normal`; options: below",
        ),
        "aria2.addTorrent": _refused(
            adding.NO_TORRENTS, _TORRENT, scope=Scope.SUBMIT, difference="refused"
        ),
        "aria2.getPeers": Method(
            parameters=(_GID,), scope=_READ, handler=reading.get_peers, difference="always empty"
        ),
        "aria2.addMetalink": _refused(
            adding.NO_METALINKS, _METALINK, scope=Scope.SUBMIT, difference="refused"
        ),
        "aria2.remove": Method(
            parameters=(_GID,), scope=_CONTROL, handler=controlling.remove, difference=_STAYS
        ),
        "aria2.pause": Method(parameters=(_GID,), scope=_CONTROL, handler=controlling.pause),
        "aria2.forcePause": Method(parameters=(_GID,), scope=_CONTROL, handler=controlling.pause),
        "aria2.pauseAll": Method(
            scope=_CONTROL, handler=controlling.pause_all, difference=_ALL_SEEN
        ),
        "aria2.forcePauseAll": Method(
            scope=_CONTROL, handler=controlling.pause_all, difference="as `aria2.pauseAll`"
        ),
        "aria2.unpause": Method(parameters=(_GID,), scope=_CONTROL, handler=controlling.unpause),
        "aria2.unpauseAll": Method(
            scope=_CONTROL, handler=controlling.unpause_all, difference="as `aria2.pauseAll`"
        ),
        "aria2.forceRemove": Method(
            parameters=(_GID,), scope=_CONTROL, handler=controlling.remove, difference=_STAYS
        ),
        "aria2.changePosition": Method(
            parameters=(
                _GID,
                Parameter("pos", parameters.whole),
                Parameter("how", parameters.text),
            ),
            scope=_CONTROL,
            handler=controlling.change_position,
            difference="changes the priority: to the front `high`, to the end `low`, by `POS_CUR` one "
            "step; returns the place that follows from it",
        ),
        "aria2.tellStatus": Method(
            parameters=_OF_ONE, scope=_READ, handler=reading.show_one, difference=_STRUCT
        ),
        "aria2.getUris": Method(parameters=(_GID,), scope=_READ, handler=reading.get_uris),
        "aria2.getFiles": Method(
            parameters=(_GID,),
            scope=_READ,
            handler=reading.get_files,
            difference="`completedLength` has what is written, not whole pieces",
        ),
        "aria2.getServers": Method(
            parameters=(_GID,),
            scope=_READ,
            handler=reading.get_servers,
            difference="one server; `currentUri` is the URI that was added",
        ),
        "aria2.tellActive": Method(
            parameters=(_KEYS,), scope=_READ, handler=reading.list_active, difference=_STRUCT
        ),
        "aria2.tellWaiting": Method(
            parameters=_OF_LIST,
            scope=_READ,
            handler=reading.list_waiting,
            difference=f"by priority, then the oldest first; {reading.MOST_WAITING:,} at most; "
            "also those that wait for another attempt",
        ),
        "aria2.tellStopped": Method(
            parameters=_OF_LIST,
            scope=_READ,
            handler=reading.list_stopped,
            difference=f"the newest {reading.MOST_STOPPED:,}, also of former days",
        ),
        "aria2.getOption": Method(
            parameters=(_GID,),
            scope=_READ,
            handler=changing.get_option,
            difference="those that have a meaning here; no headers and logins",
        ),
        "aria2.changeUri": _refused(
            "The URIs of a download cannot be changed: add another one.",
            _GID,
            scope=_CONTROL,
            difference="refused",
        ),
        "aria2.changeOption": Method(
            parameters=(_GID, _OPTIONS),
            scope=_CONTROL,
            handler=changing.change_option,
            difference="`max-download-limit` at any time, others until the download starts: below",
        ),
        "aria2.getGlobalOption": Method(
            scope=_READ,
            handler=changing.get_global_option,
            difference="those that have a meaning here",
        ),
        "aria2.changeGlobalOption": Method(
            parameters=(_OPTIONS,),
            scope=Scope.ADMIN,
            handler=changing.change_global_option,
            difference="`max-overall-download-limit`, and `max-concurrent-downloads` of all workers, "
            "which changes no worker's own concurrency; other options with an effect are refused",
        ),
        "aria2.purgeDownloadResult": Method(
            scope=_CONTROL,
            handler=controlling.purge_results,
            difference="removes the records of the user's own ended downloads for good, an admin's also "
            "those without owner; files stay",
        ),
        "aria2.removeDownloadResult": Method(
            parameters=(_GID,),
            scope=_CONTROL,
            handler=controlling.remove_result,
            difference="removes the record for good; the file stays",
        ),
        "aria2.getVersion": Method(
            scope=_READ,
            handler=reading.get_version,
            difference="no BitTorrent and Metalink; `seenVersion`",
        ),
        "aria2.getSessionInfo": Method(
            scope=_READ, handler=reading.get_session_info, difference="the same after a restart"
        ),
        "aria2.shutdown": _refused(
            "The service is not stopped by its clients.", scope=Scope.ADMIN, difference="refused"
        ),
        "aria2.forceShutdown": _refused(
            "The service is not stopped by its clients.", scope=Scope.ADMIN, difference="refused"
        ),
        "aria2.getGlobalStat": Method(
            scope=_READ,
            handler=reading.get_global_stat,
            difference="of the downloads that the token sees; `numStoppedTotal` without removed records",
        ),
        "aria2.saveSession": Method(
            scope=_CONTROL,
            handler=lambda _caller: controlling.OK,
            difference="does nothing: everything is saved always",
        ),
        MULTICALL: Method(
            parameters=(Parameter("methods", parameters.items),), scope=None, handler=_no_handler
        ),
        "system.listMethods": Method(
            scope=None, handler=list_methods, difference="without those that are refused"
        ),
        "system.listNotifications": Method(scope=None, handler=list_notifications),
    }
)
