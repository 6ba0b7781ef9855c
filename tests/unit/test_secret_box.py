"""Secrets of jobs: sealed and opened, and never to be read with another key or for another job."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from domain.errors import InvalidInputError, PermanentError
from domain.job import Job
from tests.support.build import new_job
from worker.credentials import RequestSecrets, SecretBox

OLD, NEW = "0123456789abcdef", base64.urlsafe_b64encode(b"\xfb" * 32).decode()
SECRETS = RequestSecrets(
    headers={"X-Api-Key": "hunter2", "Authorization": "Bearer hunter2"},
    cookies="a=hunter2",
)
LOGIN = RequestSecrets(username="hunter2", password="pässword: hunter2")


def sealed(box: SecretBox, secrets: RequestSecrets = SECRETS) -> Job:
    job = new_job()
    return replace(job, secrets=box.seal(job.id, secrets))


@pytest.mark.parametrize("key", [OLD, NEW, "é" * 16])
@pytest.mark.parametrize("secrets", [SECRETS, LOGIN])
def test_what_was_sealed_is_opened(key: str, secrets: RequestSecrets) -> None:
    job = sealed(SecretBox((key,)), secrets)
    assert SecretBox((key,)).open(job) == secrets
    assert "hunter2" not in f"{job.secrets} {secrets!r} {secrets}"


def test_only_names_can_be_read_without_a_key() -> None:
    assert sealed(SecretBox((OLD,))).secret_names == ("X-Api-Key", "Authorization", "cookies")
    assert sealed(SecretBox((OLD,)), LOGIN).secret_names == ("username", "password")


def test_no_secrets_need_no_key() -> None:
    box = SecretBox(())
    assert box.seal("job", RequestSecrets()) is None
    assert box.open(new_job()) == RequestSecrets()


@pytest.mark.parametrize(("secrets", "field"), [(SECRETS, "headers"), (LOGIN, "username")])
def test_secrets_without_a_key_are_refused(secrets: RequestSecrets, field: str) -> None:
    with pytest.raises(InvalidInputError, match="SEEN_SECRET_KEY") as caught:
        SecretBox(()).seal("job", secrets)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)


def test_a_change_of_keys() -> None:
    before = sealed(SecretBox((OLD,)))
    during = SecretBox((NEW, OLD))
    assert during.open(before) == SECRETS
    assert SecretBox((NEW,)).open(sealed(during)) == SECRETS


def test_a_fernet_key_is_used_as_it_is() -> None:
    job = sealed(SecretBox((NEW,)))
    assert job.secrets is not None
    assert b"hunter2" in Fernet(NEW).decrypt(job.secrets.rpartition(" ")[2])


def unreadable() -> dict[str, tuple[SecretBox, Job]]:
    box = SecretBox((OLD,))
    job, other = sealed(box), sealed(box, LOGIN)
    token = str(job.secrets)
    return {
        "another key": (SecretBox((NEW,)), job),
        "no key": (SecretBox(()), job),
        "another job's token": (box, replace(job, secrets=other.secrets)),
        "cut off": (box, replace(job, secrets=token[:-10])),
        "changed": (box, replace(job, secrets=token[:-30] + "A" * 30)),
        "no token": (box, replace(job, secrets="cookies ü")),
        "empty": (box, replace(job, secrets="")),
    }


@pytest.mark.parametrize("case", unreadable())
def test_what_cannot_be_read_fails_for_good(case: str) -> None:
    box, job = unreadable()[case]
    with pytest.raises(PermanentError, match="SEEN_SECRET_KEY") as caught:
        box.open(job)
    assert caught.value.code == "unreadable_secrets"
    assert "hunter2" not in str(caught.value)
