"""Who makes the calls of a message: each has a token, and aria2's clients send the same in all."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.rpc import gids
from api.rpc.errors import UNAUTHORIZED, RpcError, from_seen
from api.services import Services
from domain.access import Principal, Scope, require_job
from domain.errors import SeenError, UnknownJobError
from domain.job import Job
from tasks.api import accounts
from worker.runtime import Runtime

_PREFIX = "token:"
#: Characters in the results of one message: all lists of 10,000 downloads together.
MOST_CHARACTERS = 32 * 2**20
#: No call of a message starts later than this after its first one. Seconds.
MOST_SECONDS = 60.0
_TOO_MUCH = RpcError("This message asks for too much at once. Ask in several messages.")
_TOO_LONG = RpcError("The calls before this one have taken too long. Send it again by itself.")


class Callers:
    """The principals of one message, each authenticated once. Each call counts as a request of its user.

    Args:
        services: of this process.
        address: of the other end.

    Attributes:
        services: the same.
    """

    def __init__(self, services: Services, address: str | None) -> None:
        self.services, self._address = services, address
        self._known: dict[str, Principal | RpcError] = {}
        self._room = MOST_CHARACTERS
        self._ends_at: float | None = None

    def spend(self, characters: int) -> None:
        """Count what comes into the results of this message.

        Raises:
            RpcError: they would be too large; few calls can ask for much, and all of it is in memory.
        """
        self._room -= characters
        if self._room < 0:
            raise _TOO_MUCH

    @property
    def found(self) -> dict[str, Principal]:
        """The principals by their tokens."""
        return {k: one for k, one in self._known.items() if isinstance(one, Principal)}

    def take(self, params: list[object]) -> tuple[Caller | None, list[object]]:
        """Return who makes a call, and its parameters without the token; None without a token.

        Raises:
            RpcError: the token is not valid, its user has made too many requests, or the calls before
                have read too much or taken too long.
        """
        self.spend(0)  # nothing is read for calls behind one that was refused
        now = time.monotonic()
        self._ends_at = self._ends_at or now + MOST_SECONDS
        if now > self._ends_at:
            raise _TOO_LONG
        if not (params and isinstance(params[0], str) and params[0].startswith(_PREFIX)):
            return None, params
        principal = self._principal(params[0].removeprefix(_PREFIX))
        return Caller(self.services, principal, self.spend), params[1:]

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
            accounts.limit_requests(known, runtime=self.services.runtime)
        except SeenError as error:
            raise from_seen(error, "/jsonrpc") from None
        return known

    def _authenticate(self, secret: str) -> Principal | RpcError:
        runtime = self.services.runtime
        try:
            return accounts.authenticate(secret, address=self._address, runtime=runtime)
        except SeenError as error:
            return from_seen(error, "/jsonrpc")


class Caller:
    """Who makes a call, and what it may reach.

    Attributes:
        services: of this process.
        principal: who it is.
        spend: counts characters of results, and raises RpcError where they are too many.
        gid: what the call has named a download by, for errors.
    """

    def __init__(
        self, services: Services, principal: Principal, spend: Callable[[int], None]
    ) -> None:
        self.services, self.principal, self.spend = services, principal, spend
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
