"""Secrets of jobs: job_with and opened, and never to be read with another key or for another job."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from domain.cookies import Cookie
from domain.errors import InvalidInputError, PermanentError
from domain.job import Job
from tests.support.build import new_job
from worker.credentials import CredentialCipher, RequestCredentials

OLD, NEW = "0123456789abcdef", base64.urlsafe_b64encode(b"\xfb" * 32).decode()
SECRETS = RequestCredentials(
    headers={"X-Api-Key": "hunter2", "Authorization": "Bearer hunter2"},
    cookies="a=hunter2",
)
LOGIN = RequestCredentials(username="hunter2", password="pässword: hunter2")


def job_with(cipher: CredentialCipher, secrets: RequestCredentials = SECRETS) -> Job:
    job = new_job()
    return replace(job, secrets=cipher.encrypt(job.id, secrets))


@pytest.mark.parametrize("key", [OLD, NEW, "é" * 16])
@pytest.mark.parametrize("secrets", [SECRETS, LOGIN])
def test_what_was_sealed_is_opened(key: str, secrets: RequestCredentials) -> None:
    job = job_with(CredentialCipher((key,)), secrets)
    assert CredentialCipher((key,)).decrypt(job) == secrets
    assert "hunter2" not in f"{job.secrets} {secrets!r} {secrets}"


JAR = RequestCredentials(
    cookies="a=hunter2",
    cookie_jar=(Cookie(pair="b=hunter2", domain="cdn.example", secure=True, expires=2.5),),
)


@pytest.mark.parametrize("cookies", ["a=hunter2", None])
def test_cookie_jar_is_encrypted_beside_the_other_credentials(cookies: str | None) -> None:
    cipher, secrets = CredentialCipher((OLD,)), replace(JAR, cookies=cookies)
    job = job_with(cipher, secrets)
    assert cipher.decrypt(job) == secrets
    assert "hunter2" not in f"{job.secrets} {secrets!r}"
    assert job.secret_names == ("cookies",)
    # The version before takes the last token, in which it finds the fields that it knows.
    names, _, token = str(job.secrets).split(" ")
    before = cipher.decrypt(replace(job, secrets=f"{names} {token}"))
    assert before == RequestCredentials(cookies=cookies)


def test_cookie_jar_of_another_job_is_refused() -> None:
    cipher = CredentialCipher((OLD,))
    job, other = job_with(cipher, JAR), job_with(cipher, JAR)
    names, _, token = str(job.secrets).split(" ")
    mixed = f"{names} {str(other.secrets).split(' ')[1]} {token}"
    with pytest.raises(PermanentError):
        cipher.decrypt(replace(job, secrets=mixed))


def test_cookie_jar_makes_no_difference_to_the_fingerprint() -> None:
    cipher = CredentialCipher((OLD,))
    assert cipher.fingerprint(JAR) == cipher.fingerprint(replace(JAR, cookie_jar=()))


def test_only_names_can_be_read_without_a_key() -> None:
    assert job_with(CredentialCipher((OLD,))).secret_names == (
        "X-Api-Key",
        "Authorization",
        "cookies",
    )
    assert job_with(CredentialCipher((OLD,)), LOGIN).secret_names == ("username", "password")


def test_no_secrets_need_no_key() -> None:
    cipher = CredentialCipher(())
    assert cipher.encrypt("job", RequestCredentials()) is None
    assert cipher.decrypt(new_job()) == RequestCredentials()


@pytest.mark.parametrize(("secrets", "field"), [(SECRETS, "headers"), (LOGIN, "username")])
def test_secrets_without_a_key_are_refused(secrets: RequestCredentials, field: str) -> None:
    with pytest.raises(InvalidInputError, match="SEEN_SECRET_KEY") as caught:
        CredentialCipher(()).encrypt("job", secrets)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)


def test_a_change_of_keys() -> None:
    before = job_with(CredentialCipher((OLD,)))
    during = CredentialCipher((NEW, OLD))
    assert during.decrypt(before) == SECRETS
    assert CredentialCipher((NEW,)).decrypt(job_with(during)) == SECRETS


def test_a_fernet_key_is_used_as_it_is() -> None:
    job = job_with(CredentialCipher((NEW,)))
    assert job.secrets is not None
    assert b"hunter2" in Fernet(NEW).decrypt(job.secrets.rpartition(" ")[2])


def unreadable() -> dict[str, tuple[CredentialCipher, Job]]:
    cipher = CredentialCipher((OLD,))
    job, other = job_with(cipher), job_with(cipher, LOGIN)
    token = str(job.secrets)
    return {
        "another key": (CredentialCipher((NEW,)), job),
        "no key": (CredentialCipher(()), job),
        "another job's token": (cipher, replace(job, secrets=other.secrets)),
        "cut off": (cipher, replace(job, secrets=token[:-10])),
        "changed": (cipher, replace(job, secrets=token[:-30] + "A" * 30)),
        "no token": (cipher, replace(job, secrets="cookies ü")),
        "empty": (cipher, replace(job, secrets="")),
    }


@pytest.mark.parametrize("case", unreadable())
def test_what_cannot_be_read_fails_for_good(case: str) -> None:
    cipher, job = unreadable()[case]
    with pytest.raises(PermanentError, match="SEEN_SECRET_KEY") as caught:
        cipher.decrypt(job)
    assert caught.value.code == "unreadable_secrets"
    assert "hunter2" not in str(caught.value)
