"""Webhooks in SQL: the outbox of deliveries, and the URLs and secrets of users.

A trigger on `jobs` writes the outbox; here it is read, claimed and marked.
"""

from database.webhooks.delivery import Attempt, Delivery, DeliveryState, Target
from database.webhooks.outbox import Outbox
from database.webhooks.receivers import Receivers, UserWebhook

__all__ = [
    "Attempt",
    "Delivery",
    "DeliveryState",
    "Outbox",
    "Receivers",
    "Target",
    "UserWebhook",
]
