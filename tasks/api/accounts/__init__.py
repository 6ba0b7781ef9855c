"""Accounts: users, API keys, sign-in links and sessions; who it is that makes a request.

Open `authentication.py` first. Functions that manage accounts take the principal who asks; a command on
the same machine is `Principal.local()`.
"""

from tasks.api.accounts.authentication import authenticate, authenticate_key, authenticate_session
from tasks.api.accounts.keys import NewKey, create_key, list_keys, revoke_key
from tasks.api.accounts.limits import limit_requests, network_of
from tasks.api.accounts.parts import AccountParts, AccountRuntime
from tasks.api.accounts.sessions import (
    NewLink,
    NewSession,
    create_link,
    refresh,
    sign_in,
    sign_in_with_key,
    sign_out,
    sign_out_everywhere,
)
from tasks.api.accounts.users import (
    add_user,
    any_admin,
    disable_user,
    enable_user,
    list_users,
    set_role,
)

__all__ = [
    "AccountParts",
    "AccountRuntime",
    "NewKey",
    "NewLink",
    "NewSession",
    "add_user",
    "any_admin",
    "authenticate",
    "authenticate_key",
    "authenticate_session",
    "create_key",
    "create_link",
    "disable_user",
    "enable_user",
    "limit_requests",
    "list_keys",
    "list_users",
    "network_of",
    "refresh",
    "revoke_key",
    "set_role",
    "sign_in",
    "sign_in_with_key",
    "sign_out",
    "sign_out_everywhere",
]
