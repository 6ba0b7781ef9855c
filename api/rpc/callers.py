"""Who makes the calls of a message: each has a token, and aria2's clients send the same in all."""

from __future__ import annotations

from api.rpc import gids
from api.rpc.errors import UNAUTHORIZED, RpcError, from_seen
from api.services import Services
from domain.access import Principal, Scope, require_job
from domain.errors import SeenError, UnknownJobError
from domain.job import Job
from tasks.api import accounts
from worker.runtime import Runtime

_PREFIX = "token:"


class Callers:
    """The principals of one message, each authenticated once. Each call counts as a request of its user.

    Args:
        services: of this process.
        address: of the other end.
    """

    def __init__(self, services: Services, address: str | None) -> None:
        self._services, self._address = services, address
        self._known: dict[str, Principal | RpcError] = {}

    @property
    def found(self) -> dict[str, Principal]:
        """The principals by their tokens."""
        return {k: one for k, one in self._known.items() if isinstance(one, Principal)}

    def take(self, params: list[object]) -> tuple[Caller | None, list[object]]:
        """Return who makes a call, and its parameters without the token; None without a token.

        Raises:
            RpcError: the token is not valid, or its user has made too many requests.
        """
        if not (params and isinstance(params[0], str) and params[0].startswith(_PREFIX)):
            return None, params
        principal = self._principal(params[0].removeprefix(_PREFIX))
        return Caller(self._services, principal), params[1:]

    @staticmethod
    def without_token(params: list[object]) -> list[object]:
        """Return parameters without a token, which is not looked at."""
        is_token = bool(params) and isinstance(params[0], str) and params[0].startswith(_PREFIX)
        return params[1:] if is_token else params

    def _principal(self, secret: str) -> Principal:
        known = self._known.get(secret)
        if known is None:
            known = self._known[secret] = self._authenticate(secret)
        if isinstance(known, RpcError):
            raise known
        try:
            accounts.limit_requests(known, runtime=self._services.runtime)
        except SeenError as error:
            raise from_seen(error, "/jsonrpc") from None
        return known

    def _authenticate(self, secret: str) -> Principal | RpcError:
        runtime = self._services.runtime
        try:
            return accounts.authenticate(secret, address=self._address, runtime=runtime)
        except SeenError as error:
            return from_seen(error, "/jsonrpc")


class Caller:
    """Who makes a call, and what it may reach.

    Attributes:
        services: of this process.
        principal: who it is.
        gid: what the call has named a download by, for errors.
    """

    def __init__(self, services: Services, principal: Principal) -> None:
        self.services, self.principal = services, principal
        self.gid = ""

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process."""
        return self.services.runtime

    def job(self, gid: str, scope: Scope) -> Job:
        """Return the job of a GID, if the caller may use it so.

        Raises:
            RpcError: there is no such job, or it is another user's, or several fit.
            ForbiddenError: the caller has not this scope, whatever the job.
        """
        self.gid = gid
        job_id = gids.find(gid, self.principal, self.runtime)
        self.gid = gids.gid_of(job_id)
        job = self.runtime.jobs.get_many([job_id]).get(job_id)
        try:
            return require_job(self.principal, scope, job_id, job)
        except UnknownJobError:
            raise RpcError(f"GID {gid} is not found") from None


def require_token(caller: Caller | None) -> Caller:
    """Return the caller; raise RpcError without one."""
    if caller is None:
        raise UNAUTHORIZED
    return caller
