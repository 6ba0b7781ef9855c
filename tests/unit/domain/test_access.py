"""The rules: role by scope by whose job it is, for every function that decides."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest

from domain.access import (
    ALL_SCOPES,
    SCOPES_OF_ROLE,
    Kind,
    Principal,
    Role,
    Scope,
    changes,
    filter_for,
    owner_for,
    require,
    require_account,
    require_end_of_sessions,
    require_job,
    sees,
    visible_user,
)
from domain.access.names import check_key_name, check_role, check_scope, check_user_name
from domain.access.principal import scopes_from
from domain.errors import ForbiddenError, InvalidInputError, SeenError, UnknownJobError
from domain.job import Job, JobFilter
from tests.support.build import new_job

JOBS = {
    "own": new_job(user_id="ada"),
    "foreign": new_job(user_id="bob"),
    "of no one": new_job(user_id=None),
    "unknown": None,
}

#: By role: the scopes it has, and whose jobs it reaches with them.
RULES = {
    Role.ADMIN: ({"read", "files", "submit", "control", "admin"}, {"own", "foreign", "of no one"}),
    Role.USER: ({"read", "files", "submit", "control"}, {"own"}),
    Role.VIEWER: ({"read", "files"}, {"own", "foreign", "of no one"}),
}


def principal(
    role: Role, scopes: frozenset[Scope] = ALL_SCOPES, kind: Kind = Kind.KEY
) -> Principal:
    return Principal(user_id="ada", role=role, scopes=scopes, kind=kind, id="k1")


def outcome(role: Role, scope: Scope, job: Job | None) -> str:
    try:
        require_job(principal(role), scope, "some-id", job)
    except SeenError as error:
        return error.code
    return "allowed"


@pytest.mark.parametrize(("role", "scope", "whose"), list(product(Role, Scope, JOBS)))
def test_role_by_scope_by_whose_job(role: Role, scope: Scope, whose: str) -> None:
    scopes, reached = RULES[role]
    expected = "forbidden" if scope not in scopes else "allowed"
    if expected == "allowed" and whose not in reached:
        expected = "unknown_job"
    assert outcome(role, scope, JOBS[whose]) == expected


def test_every_role_and_scope_has_a_rule() -> None:
    assert set(RULES) == set(Role)
    assert {role: set(scopes) for role, (scopes, _) in RULES.items()} == SCOPES_OF_ROLE


@pytest.mark.parametrize("scope", Scope)
def test_foreign_and_unknown_jobs_cannot_be_told_apart(scope: Scope) -> None:
    answers = set()
    for whose in ("foreign", "of no one", "unknown"):
        with pytest.raises((UnknownJobError, ForbiddenError)) as caught:
            require_job(principal(Role.USER), scope, "an-id", JOBS[whose])
        answers.add((caught.value.code, str(caught.value)))
    assert len(answers) == 1


@pytest.mark.parametrize(("role", "whose"), list(product(Role, ["own", "foreign", "of no one"])))
def test_sees_and_changes_agree_with_the_table(role: Role, whose: str) -> None:
    job = JOBS[whose]
    assert job is not None
    assert sees(principal(role), job) is (outcome(role, Scope.READ, job) == "allowed")
    assert changes(principal(role), job) is (outcome(role, Scope.CONTROL, job) == "allowed")


@pytest.mark.parametrize("role", Role)
def test_a_key_has_no_more_than_its_scopes_and_none_beyond_its_role(role: Role) -> None:
    for count in range(len(Scope) + 1):
        for some in combinations(Scope, count):
            one = principal(role, frozenset(some))
            assert one.scopes == frozenset(some) & SCOPES_OF_ROLE[role]
            for scope in Scope:
                if scope in one.scopes:
                    require(one, scope)
                else:
                    with pytest.raises(ForbiddenError, match=scope.value):
                        require(one, scope)


@pytest.mark.parametrize(
    ("role", "owner", "expected"),
    [
        (Role.ADMIN, None, None),
        (Role.ADMIN, "bob", "bob"),
        (Role.VIEWER, "bob", "bob"),
        (Role.USER, None, "ada"),
        (Role.USER, "ada", "ada"),
        (Role.USER, "bob", "no job"),
    ],
)
def test_a_filter_selects_what_is_visible(
    role: Role, owner: str | None, expected: str | None
) -> None:
    found = filter_for(principal(role), JobFilter(user_id=owner))
    assert ("no job" if found is None else found.user_id) == expected
    assert visible_user(principal(role)) == ("ada" if role is Role.USER else None)


@pytest.mark.parametrize(
    ("role", "owner", "expected"),
    [
        (Role.ADMIN, None, "ada"),
        (Role.ADMIN, "ada", "ada"),
        (Role.ADMIN, "bob", "bob"),
        (Role.USER, None, "ada"),
        (Role.USER, "ada", "ada"),
        (Role.USER, "bob", "forbidden"),
        (Role.USER, "ADA", "forbidden"),
        (Role.VIEWER, None, "forbidden"),
        (Role.VIEWER, "ada", "forbidden"),
    ],
)
def test_whose_a_submitted_job_is(role: Role, owner: str | None, expected: str) -> None:
    try:
        found = owner_for(principal(role), owner)
    except ForbiddenError as error:
        found = error.code
    assert found == expected


@pytest.mark.parametrize(
    ("role", "kind", "user", "allowed"),
    [
        (Role.ADMIN, Kind.SESSION, "bob", True),
        (Role.ADMIN, Kind.KEY, "bob", True),
        (Role.USER, Kind.SESSION, "ada", True),
        (Role.VIEWER, Kind.SESSION, "ada", True),
        (Role.USER, Kind.SESSION, "bob", False),
        (Role.USER, Kind.KEY, "ada", False),
        (Role.VIEWER, Kind.KEY, "ada", False),
    ],
)
def test_whose_keys_and_sessions_may_be_managed(
    role: Role, kind: Kind, user: str, allowed: bool
) -> None:
    try:
        require_account(principal(role, kind=kind), user)
    except ForbiddenError:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize("scopes", [[one] for one in Scope] + [list(Scope), []])
@pytest.mark.parametrize(("role", "kind", "is_by_key"), list(product(Role, Kind, [False, True])))
def test_whose_sessions_may_be_ended(
    role: Role, kind: Kind, is_by_key: bool, scopes: list[Scope]
) -> None:
    """An own session by a link, or by a key that may change something; an admin ends those of all."""
    who = replace(principal(role, frozenset(scopes), kind), is_by_key=is_by_key)
    is_session = kind is Kind.SESSION and (not is_by_key or Scope.CONTROL in who.scopes)
    for user, allowed in (("ada", is_session), ("bob", False)):
        expected = allowed or Scope.ADMIN in who.scopes
        try:
            require_end_of_sessions(who, user)
        except ForbiddenError:
            assert not expected
        else:
            assert expected


def test_programs_of_this_machine_may_do_everything() -> None:
    local = Principal.local()
    assert (local.role, local.scopes, local.user_id) == (Role.ADMIN, ALL_SCOPES, None)
    assert owner_for(local, None) is None
    assert owner_for(local, "bob") == "bob"
    assert filter_for(local, JobFilter()) == JobFilter()
    require_account(local, "bob")


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.SESSION])
@pytest.mark.parametrize("user_id", [None, ""])
def test_no_one_signs_in_as_no_user(kind: Kind, user_id: str | None) -> None:
    with pytest.raises(ValueError, match="no user"):
        Principal(user_id=user_id, role=Role.USER, scopes=ALL_SCOPES, kind=kind)


def test_scopes_of_a_newer_version_are_left_out() -> None:
    assert scopes_from(["read", "teleport", ""]) == {Scope.READ}


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("ada", True),
        ("a", True),
        ("0", True),
        ("ada.b-c_d", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("Ada", False),
        ("äda", False),
        ("аda", False),  # a Cyrillic letter
        ("٣", False),  # an Arabic digit
        ("ada\n", False),
        ("ada b", False),
        ("ada:b", False),
        ("ada/b", False),
        ("ada%41", False),
        ("ada@example.com", False),
        ("-ada", False),
        ("--json", False),
        (".ada", False),
        ("..", False),
        ("_ada", False),
        ("\x1b[31m", False),
        ("\udcff", False),
        (None, False),
        (b"ada", False),
        (7, False),
    ],
)
def test_names_of_users(name: object, is_valid: bool) -> None:
    if is_valid:
        assert check_user_name(name) == name
    else:
        with pytest.raises(InvalidInputError, match=r"user: .* lower-case letters"):
            check_user_name(name)


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("", True),
        ("backup of the NAS, ü", True),
        ("x" * 100, True),
        ("x" * 101, False),
        (" x", False),
        ("x\ny", False),
        ("x\u202ey", False),
        (None, False),
        ("seen_abcd1234_" + "A" * 43, False),
    ],
)
def test_names_of_keys(name: object, is_valid: bool) -> None:
    if is_valid:
        assert check_key_name(name) == name
    else:
        with pytest.raises(InvalidInputError, match=r"name: .* visible characters"):
            check_key_name(name)


def test_a_secret_in_the_place_of_a_name_is_not_repeated() -> None:
    secret = "seen_abcd1234_" + "S3cret" * 7 + "x"
    for check in (check_user_name, check_key_name, check_role, check_scope):
        with pytest.raises(InvalidInputError) as caught:
            check(secret)
        assert "S3cret" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("text", ["", "Admin", "root", "admin ", None, 7, "\udcff"])
def test_roles_and_scopes_that_there_are_not(text: object) -> None:
    with pytest.raises(InvalidInputError, match="admin, user or viewer"):
        check_role(text)
    with pytest.raises(InvalidInputError, match="read, files, submit, control or admin"):
        check_scope(text)
