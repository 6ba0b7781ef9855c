"""Where the ends of your downloads are delivered to, and what became of that."""

from __future__ import annotations

from typing import Literal

from seen_client.errors import UnexpectedAnswerError
from seen_client.models import Deliveries, Delivery, Webhook, WebhookSecret
from seen_client.operations.asking import change, end, get, given
from seen_client.service import Service
from seen_client.steps import Emit, Flow, Stream


def webhook(service: Service) -> Flow[str | None]:
    """Return your webhook as it is shown, scheme and host; None without one."""
    return (yield from get(service, "/v1/webhook", Webhook)).url


def set_webhook(service: Service, url: str) -> Flow[str | None]:
    """Have each end of your downloads delivered to a URL from now on."""
    return (yield from change(service, "PUT", "/v1/webhook", Webhook, {"url": url})).url


def clear_webhook(service: Service) -> Flow[None]:
    """Deliver the ends of your downloads no longer."""
    yield from end(service, "DELETE", "/v1/webhook")


def webhook_secret(service: Service) -> Flow[str]:
    """Return the secret that signs your deliveries, for `verify_webhook`."""
    return (yield from get(service, "/v1/webhook/secret", WebhookSecret)).secret


def renew_webhook_secret(service: Service) -> Flow[str]:
    """Make a new secret and return it; the former one signs, too, for 24 hours."""
    return (yield from change(service, "POST", "/v1/webhook/secret", WebhookSecret)).secret


def deliveries(
    service: Service,
    *,
    download_id: str | None = None,
    state: Literal["pending", "delivered", "given_up"] | None = None,
    page_size: int = 50,
) -> Stream[Delivery]:
    """Yield deliveries of the downloads that you see, the newest first."""
    wanted = given(download_id=download_id, state=state, limit=page_size)
    before: int | None = None
    while True:
        page = yield from get(
            service, "/v1/deliveries", Deliveries, (*wanted, *given(before=before))
        )
        for one in page.deliveries:
            yield Emit(one)
        if page.next_before is None:
            return
        if before is not None and page.next_before >= before:
            raise UnexpectedAnswerError("The list of deliveries does not go on.")
        before = page.next_before


def delivery(service: Service, delivery_id: int) -> Flow[Delivery]:
    """Return one delivery with its newest attempts."""
    return (yield from get(service, f"/v1/deliveries/{int(delivery_id)}", Delivery))


def send_again(service: Service, delivery_id: int) -> Flow[Delivery]:
    """Have a delivery made again within seconds; the receiver gets the same id and body."""
    path = f"/v1/deliveries/{int(delivery_id)}/send"
    return (yield from change(service, "POST", path, Delivery))
