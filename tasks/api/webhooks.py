"""Webhooks for people and programs: the URL of a user, its secret, and the deliveries.

Each function takes who asks, as the functions of accounts do. A user is its name; None stands for jobs
without owner, which only admins manage. Functions raise DatabaseUnavailableError.
"""

from __future__ import annotations

from typing_extensions import TypedDict

from database.webhooks import Delivery, DeliveryState, Outbox, Receivers, Target
from domain.access import Principal, Scope, require, visible_user
from domain.access.errors import UserDisabledError
from domain.errors import ForbiddenError, InvalidInputError
from domain.request_fields import HIDDEN, check_webhook
from domain.urls import display_url
from worker.app import current_runtime
from worker.runtime import Runtime
from worker.webhooks.secrets import KEY_IS_MISSING, WebhookSecrets

#: Deliveries of a page at most.
MAX_PAGE = 500


class UnknownDeliveryError(InvalidInputError):
    """There is no delivery with this id, or it is of another user's job."""

    code = "unknown_delivery"
    command = "`seen webhook deliveries` lists those there are."

    def __init__(self, delivery_id: int) -> None:
        super().__init__("delivery", delivery_id, "None has this number.")
        self.args = (f"{self} {self.command}",)


class AttemptDict(TypedDict):
    """One attempt as JSON."""

    at: str
    status: int | None
    """Of the response; null without one."""
    error: str | None
    """Null for a success."""
    seconds: float


class DeliveryDict(TypedDict):
    """A delivery as JSON. Times are ISO 8601 in UTC."""

    id: int
    webhook_id: str
    """The header ``webhook-id``: the same for all attempts."""
    job_id: str
    user_id: str | None
    target: str
    """``job``, ``user`` or ``program``: who receives it."""
    host: str
    """Host and port of the receiver; empty for a program."""
    event: str
    """``completed``, ``failed`` or ``cancelled``."""
    ended_at: str
    state: str
    """``pending``, ``delivered`` or ``given_up``."""
    next_attempt_at: str | None
    """Of a pending one."""
    attempts: list[AttemptDict]
    """The newest ones, the oldest first."""


def webhook_of(
    principal: Principal, user_id: str | None, *, runtime: Runtime | None = None
) -> str | None:
    """Return the webhook of a user's jobs as it is shown: scheme and host; None without one."""
    _require_own(principal, Scope.READ, user_id)
    url = Receivers((runtime or current_runtime()).database).get(user_id or "").url
    return None if url is None else display_url(url, secret=True)


def set_webhook(
    principal: Principal, user_id: str | None, url: str | None, *, runtime: Runtime | None = None
) -> str | None:
    """Have all ends of a user's jobs delivered to a URL from now on; None: to none.

    Returns: the webhook as `webhook_of` shows it, also to who may change it and not read it.

    Raises:
        ForbiddenError: it is another user's, or the scope `control` is missing.
        InvalidInputError: the URL is not valid, or there is no SEEN_SECRET_KEY for its secret.
    """
    _require_own(principal, Scope.CONTROL, user_id)
    runtime = runtime or current_runtime()
    checked = None if url is None else check_webhook(url)
    if checked is not None and not runtime.settings.secret_keys:
        raise InvalidInputError("webhook", HIDDEN, KEY_IS_MISSING)
    Receivers(runtime.database).set_url(user_id or "", checked, now=runtime.now())
    return None if checked is None else display_url(checked, secret=True)


def secret_of(
    principal: Principal,
    user_id: str | None,
    *,
    renew: bool = False,
    runtime: Runtime | None = None,
) -> str:
    """Return the secret that signs the deliveries of a user's jobs: ``whsec_…``.

    Args:
        principal: who asks.
        user_id: whose.
        renew: make a new one; the former one signs, too, for 24 hours.
        runtime: of this process.

    Raises:
        ForbiddenError: it is another user's, or the scope `control` is missing.
        UnreadableSecretError: SEEN_SECRET_KEY is missing, or another one.
    """
    _require_own(principal, Scope.CONTROL, user_id)
    runtime = runtime or current_runtime()
    secrets = WebhookSecrets(Receivers(runtime.database), runtime.credential_cipher)
    if renew:
        return secrets.replace(user_id or "", runtime.now())
    return secrets.current(user_id or "", runtime.now())[0]


def list_deliveries(
    principal: Principal,
    *,
    job_id: str | None = None,
    state: DeliveryState | None = None,
    before: int | None = None,
    limit: int = 50,
    runtime: Runtime | None = None,
) -> list[Delivery]:
    """Return deliveries that the principal sees, the newest first; None does not restrict.

    Args:
        principal: who asks.
        job_id: of this job alone.
        state: only in this state.
        before: the id of the last one of the page before.
        limit: 1 to 500.
        runtime: of this process.

    Raises:
        ForbiddenError: the scope `read` is missing.
        InvalidInputError: the limit is not valid.
    """
    require(principal, Scope.READ)
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInputError("limit", limit, f"It is 1 to {MAX_PAGE}.")
    outbox = Outbox((runtime or current_runtime()).database)
    user_id = visible_user(principal)
    return outbox.find(user_id=user_id, job_id=job_id, state=state, before=before, limit=limit)


def delivery(principal: Principal, delivery_id: int, *, runtime: Runtime | None = None) -> Delivery:
    """Return one delivery with its attempts.

    Raises:
        ForbiddenError: the scope `read` is missing.
        UnknownDeliveryError: there is none, or it is of another user's job.
    """
    require(principal, Scope.READ)
    return _visible(principal, delivery_id, runtime or current_runtime())


def send_again(
    principal: Principal, delivery_id: int, *, runtime: Runtime | None = None
) -> Delivery:
    """Have a delivery made within seconds, in whatever state it is, with all its attempts.

    The receiver gets the same ``webhook-id`` and body.

    Raises:
        ForbiddenError: the scope `control` is missing.
        UnknownDeliveryError: there is none, or it is of another user's job.
        UserDisabledError: nothing is delivered to the webhooks of a disabled user.
    """
    require(principal, Scope.CONTROL)
    runtime = runtime or current_runtime()
    wanted = _visible(principal, delivery_id, runtime)
    is_program = wanted.target is Target.PROGRAM
    if not is_program and Receivers(runtime.database).is_disabled(wanted.user_id or ""):
        raise UserDisabledError(wanted.user_id or "")
    found = Outbox(runtime.database).send_again(delivery_id, runtime.now())
    if found is None:
        raise UnknownDeliveryError(delivery_id)
    return found


def delivery_as_json(one: Delivery) -> DeliveryDict:
    """Return a delivery as a dict that `json.dumps` takes."""
    is_pending = one.state is DeliveryState.PENDING
    return {
        "id": one.id,
        "webhook_id": one.message_id,
        "job_id": one.job_id,
        "user_id": one.user_id,
        "target": one.target.value,
        "host": one.host,
        "event": one.event.value,
        "ended_at": one.ended_at.isoformat(),
        "state": one.state.value,
        "next_attempt_at": one.next_attempt_at.isoformat() if is_pending else None,
        "attempts": [
            {
                "at": attempt.at.isoformat(),
                "status": attempt.status,
                "error": attempt.error,
                "seconds": attempt.seconds,
            }
            for attempt in one.log
        ],
    }


def _visible(principal: Principal, delivery_id: int, runtime: Runtime) -> Delivery:
    found = Outbox(runtime.database).get(delivery_id) if 0 < delivery_id < 2**63 else None
    if found is None or visible_user(principal) not in (None, found.user_id):
        raise UnknownDeliveryError(delivery_id)
    return found


def _require_own(principal: Principal, scope: Scope, user_id: str | None) -> None:
    """Raise ForbiddenError unless the principal has the scope, and it is its own or it is an admin."""
    require(principal, scope)
    if Scope.ADMIN not in principal.scopes and (user_id is None or user_id != principal.user_id):
        raise ForbiddenError("This is another user's webhook.")
