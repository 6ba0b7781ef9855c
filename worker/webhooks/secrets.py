"""The secrets that sign deliveries, one a user: made at first use, replaced, stored encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from database.webhooks import Receivers
from domain.errors import InvalidInputError, SeenError
from worker.credentials import CredentialCipher
from worker.webhooks.signatures import new_secret

#: A replaced secret signs for so long beside the new one.
OVERLAP = timedelta(hours=24)


KEY_IS_MISSING = (
    "Webhooks are signed, their secrets are stored encrypted, and there is no key: set SEEN_SECRET_KEY "
    "to the same value for all processes."
)


class UnreadableSecretError(SeenError):
    """The secret of a user cannot be decrypted, or there is no key to make one."""

    code = "unreadable_secrets"


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """The secrets of all users, "" for jobs without owner.

    Attributes:
        receivers: has them.
        cipher: of this process.
    """

    receivers: Receivers
    cipher: CredentialCipher

    def current(self, user_id: str, now: datetime) -> list[str]:
        """Return the secrets that sign now, the newest first; makes the first one.

        Raises:
            UnreadableSecretError: SEEN_SECRET_KEY is missing, or is another one.
        """
        stored = self.receivers.get(user_id).secrets
        if stored is None:
            first = self._sealed(user_id, [{"secret": new_secret(), "until": None}])
            stored = self.receivers.add_secrets(user_id, first, now=now)
        found = self._opened(user_id, stored)
        valid = [one for one in found if _is_valid(one, now)]
        return [one["secret"] for one in valid]

    def replace(self, user_id: str, now: datetime) -> str:
        """Make a new secret and return it; the former one signs, too, for `OVERLAP`.

        A former one that cannot be decrypted is dropped.

        Raises:
            UnreadableSecretError: SEEN_SECRET_KEY is missing.
        """
        try:
            former = self.current(user_id, now)[:1]
        except UnreadableSecretError:
            former = []
        secret = new_secret()
        until = (now + OVERLAP).isoformat()
        kept = [{"secret": one, "until": until} for one in former]
        sealed = self._sealed(user_id, [{"secret": secret, "until": None}, *kept])
        self.receivers.set_secrets(user_id, sealed, now=now)
        return secret

    def _sealed(self, user_id: str, secrets: Sequence[dict[str, Any]]) -> str:
        try:
            return self.cipher.seal(f"webhook {user_id}", {"secrets": secrets})
        except InvalidInputError:
            raise UnreadableSecretError(KEY_IS_MISSING) from None

    def _opened(self, user_id: str, text: str) -> list[dict[str, Any]]:
        content = self.cipher.unseal(f"webhook {user_id}", text)
        if content is None:
            raise UnreadableSecretError(
                "The secret of the webhook cannot be decrypted: SEEN_SECRET_KEY does not contain the "
                "key that encrypted it. Add that key, or run: seen webhook secret --new"
            )
        found: list[dict[str, Any]] = content["secrets"]
        return found


def _is_valid(one: dict[str, Any], now: datetime) -> bool:
    return one["until"] is None or datetime.fromisoformat(one["until"]) > now
