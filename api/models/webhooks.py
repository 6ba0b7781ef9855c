"""The bodies and answers of `/v1/webhook` and `/v1/deliveries`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field
from typing_extensions import TypedDict

from api.models.fields import Body
from tasks.api.webhooks import DeliveryDict

#: The id of a delivery in a path.
DeliveryId = Annotated[int, Path(ge=1, lt=2**63, description="The id of a delivery.")]


class WebhookChange(Body):
    """Where the ends of the caller's downloads are delivered to."""

    url: Annotated[
        str,
        Field(
            max_length=2000,
            description="http or https, without a login.",
            examples=["https://example.org/hooks/seen"],
        ),
    ]


class Webhook(TypedDict):
    """The caller's webhook as it is shown."""

    url: str | None
    """Scheme and host; null without one."""


class WebhookSecret(TypedDict):
    """What signs the deliveries of the caller's downloads."""

    secret: str


class Deliveries(TypedDict):
    """One page of deliveries, the newest first."""

    deliveries: list[DeliveryDict]
    next_before: int | None
    """`before` of the next page; null on the last one."""
