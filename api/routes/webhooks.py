"""`/v1/webhook`, `/v1/deliveries`: where ends of downloads are delivered to, and what became of that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.accepting import check_hosts
from api.answers import Json
from api.authentication import CheckedRoute, Controller, Reader
from api.documented import problems
from api.models.fields import ID_PATTERN
from api.models.webhooks import Deliveries, DeliveryId, Webhook, WebhookChange, WebhookSecret
from api.services import TheServices
from database.webhooks import DeliveryState
from domain.request_fields import check_webhook
from tasks.api import webhooks
from tasks.api.webhooks import DeliveryDict

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=CheckedRoute)


@router.get("/webhook", response_model=Webhook, responses=problems())
def show(services: TheServices, principal: Reader) -> Json:
    """Return the webhook of your downloads; one that a download has itself comes in addition."""
    url = webhooks.webhook_of(principal, principal.user_id, runtime=services.runtime)
    return Json({"url": url})


@router.put("/webhook", response_model=Webhook, responses=problems())
def change(services: TheServices, principal: Controller, body: WebhookChange) -> Json:
    """Have each end of your downloads delivered to a URL from now on."""
    runtime = services.runtime
    check_hosts(principal, "url", [check_webhook(body.url)])
    url = webhooks.set_webhook(principal, principal.user_id, body.url, runtime=runtime)
    return Json({"url": url})


@router.delete("/webhook", status_code=204, responses=problems())
def clear(services: TheServices, principal: Controller) -> Response:
    """Deliver the ends of your downloads no longer, but to webhooks that they have themselves."""
    webhooks.set_webhook(principal, principal.user_id, None, runtime=services.runtime)
    return Response(status_code=204)


@router.get("/webhook/secret", response_model=WebhookSecret, responses=problems(409))
def secret(services: TheServices, principal: Controller) -> Json:
    """Return the secret that signs your deliveries, as Standard Webhooks has it."""
    found = webhooks.secret_of(principal, principal.user_id, runtime=services.runtime)
    return Json({"secret": found})


@router.post("/webhook/secret", response_model=WebhookSecret, responses=problems(409))
def renew_secret(services: TheServices, principal: Controller) -> Json:
    """Make a new secret and return it; the former one signs, too, for 24 hours."""
    found = webhooks.secret_of(principal, principal.user_id, renew=True, runtime=services.runtime)
    return Json({"secret": found})


@router.get("/deliveries", response_model=Deliveries, responses=problems())
def list_deliveries(
    services: TheServices,
    principal: Reader,
    download_id: Annotated[
        str | None, Query(pattern=ID_PATTERN, description="Of this one.")
    ] = None,
    state: DeliveryState | None = None,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="`next_before` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=webhooks.MAX_PAGE)] = 50,
) -> Json:
    """List deliveries of the downloads that you see, the newest first."""
    found = webhooks.list_deliveries(
        principal,
        job_id=download_id,
        state=state,
        before=before,
        limit=limit,
        runtime=services.runtime,
    )
    following = found[-1].id if len(found) == limit else None
    shown = [webhooks.delivery_as_json(one) for one in found]
    return Json({"deliveries": shown, "next_before": following})


@router.get("/deliveries/{delivery_id}", response_model=DeliveryDict, responses=problems(404))
def show_delivery(services: TheServices, principal: Reader, delivery_id: DeliveryId) -> Json:
    """Return one delivery with its newest attempts."""
    found = webhooks.delivery(principal, delivery_id, runtime=services.runtime)
    return Json(webhooks.delivery_as_json(found))


@router.post(
    "/deliveries/{delivery_id}/send", response_model=DeliveryDict, responses=problems(404, 409)
)
def send_again(services: TheServices, principal: Controller, delivery_id: DeliveryId) -> Json:
    """Have a delivery made again within seconds; the receiver gets the same id and body."""
    found = webhooks.send_again(principal, delivery_id, runtime=services.runtime)
    return Json(webhooks.delivery_as_json(found))
