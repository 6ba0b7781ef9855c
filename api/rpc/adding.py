"""`aria2.addUri`: from URIs and options to a job, by the way that `/v1/downloads` takes, too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api.accepting import accept
from api.rpc import options as aria2_options
from api.rpc.callers import Caller
from api.rpc.errors import RpcError
from api.rpc.gids import gid_of
from api.rpc.options import OPTIONS, Draft, problem
from domain.errors import InvalidInputError, SeenError
from domain.job import Job, Priority
from worker.runtime import Runtime

NO_TORRENTS = "BitTorrent is not supported: this service downloads from HTTP and FTP servers."
NO_METALINKS = "Metalink is not supported: add the URIs of the file by aria2.addUri."
_SCHEMES = ("http://", "https://", "ftp://", "ftps://", "sftp://")
#: White space and control characters, which are no part of a URI.
_NEITHER = re.compile(r"[\x00-\x20\x7f]")
#: By field of a request, the option that it comes from.
_OPTION_OF_FIELD = {option.field: name for name, option in OPTIONS.items() if option.field}


def add_uri(
    caller: Caller,
    uris: Sequence[str],
    options: Mapping[str, Any] | None = None,
    position: int | None = None,
) -> str:
    """Add a download and return its GID: that of the job that exists for the same request, if any."""
    url, *mirrors = _usable(uris)
    draft = Draft(url)
    aria2_options.read(options or {}, draft)
    fields = placed(draft.request(), caller.runtime)
    if mirrors:
        fields["mirrors"] = mirrors
    if position == 0:
        fields["priority"] = Priority.HIGH.value
    return gid_of(_accepted(fields, caller, paused=draft.is_paused).id)


def _usable(uris: Sequence[str]) -> list[str]:
    """Return the URIs that aria2 would take: it leaves others out, and encodes spaces in them."""
    if not uris:
        raise RpcError("URI is not provided.")
    if any(uri.lower().startswith("magnet:") for uri in uris):
        raise RpcError(NO_TORRENTS)
    encoded = [_NEITHER.sub(_percent, uri.strip()) for uri in uris]
    found = [uri for uri in encoded if uri.lower().startswith(_SCHEMES)]
    if not found:
        raise RpcError("No URI to download.")
    return found


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def placed(fields: dict[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Return a request whose folder is relative to the download folder; clients name it whole."""
    folder, inner = fields.pop("directory", ""), fields.pop("out_folder", "")
    if folder.startswith("/"):
        path, base = Path(folder), runtime.resolve("")
        if ".." in path.parts or not path.is_relative_to(base):
            raise problem("dir", f"It is in the download folder, {base}.")
        folder = str(path.relative_to(base))
    parts = [part for part in (folder.rstrip("/"), inner) if part not in {"", "."}]
    return {**fields, "directory": "/".join(parts)}


def _accepted(fields: Mapping[str, Any], caller: Caller, *, paused: bool) -> Job:
    """Submit a request, and return its job.

    Raises:
        RpcError: a field is not valid; nothing was stored.
        SeenError: it is not accepted; nothing was stored.
    """
    (one,) = accept([fields], caller.principal, caller.runtime, each=True, key=None, paused=paused)
    if isinstance(one.outcome, InvalidInputError):
        raise invalid(one.outcome)
    if isinstance(one.outcome, SeenError):
        raise one.outcome
    return one.outcome


def invalid(error: InvalidInputError) -> RpcError:
    """Return aria2's error for a field that is not valid, by the option that it comes from."""
    option = _OPTION_OF_FIELD.get(error.field.partition(".")[0])
    return problem(option, error.remedy) if option else RpcError(str(error))
