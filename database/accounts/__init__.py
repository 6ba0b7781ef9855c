"""Accounts in SQL: users, API keys, sign-in links; and answers to repeated HTTP requests.

Every change that must happen once is one UPDATE that compares what it found.
"""

from database.accounts.api_keys import ApiKey, ApiKeyRepository
from database.accounts.idempotent_requests import IdempotentRequests, StoredResponse
from database.accounts.sign_in_links import SignInLink, SignInLinkRepository
from database.accounts.users import User, UserRepository

__all__ = [
    "ApiKey",
    "ApiKeyRepository",
    "IdempotentRequests",
    "SignInLink",
    "SignInLinkRepository",
    "StoredResponse",
    "User",
    "UserRepository",
]
