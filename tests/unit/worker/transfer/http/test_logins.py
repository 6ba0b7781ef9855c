"""Which schemes a challenge names, and what a person is told to do about it."""

from __future__ import annotations

import pytest

from worker.transfer.http.error_mapping import error_for_response
from worker.transfer.http.logins import schemes, wants_digest
from worker.transfer.http.request import Request
from worker.transfer.http.response import Response


@pytest.mark.parametrize(
    ("challenges", "expected"),
    [
        ("", []),
        ('Basic realm="files"', ["Basic"]),
        ("Basic", ["Basic"]),
        ('Digest realm="a, b", nonce="x", qop="auth,auth-int"', ["Digest"]),
        ('Digest realm="a", nonce = "x", Basic realm="b"', ["Digest", "Basic"]),
        ("Negotiate, NTLM", ["Negotiate", "NTLM"]),
        ("NTLM TlRMTVNTUAAC==", ["NTLM"]),
        ('Bearer error="invalid_token"', ["Bearer"]),
        ('Basic realm="say \\"Digest x\\"", Basic realm="c"', ["Basic"]),
        ("a=b, =, ,,", []),
        ("\x1b[31mBasic realm=x", []),
        (", ".join(f"S{number}" for number in range(50)), ["S0", "S1", "S2", "S3", "S4"]),
    ],
)
def test_schemes_of_a_challenge(challenges: str, expected: list[str]) -> None:
    assert schemes(challenges) == expected


@pytest.mark.parametrize(
    ("challenges", "expected"),
    [
        ('Digest realm="a"', True),
        ('Negotiate, Digest realm="a"', True),
        ('Basic realm="a", Digest realm="a"', False),
        ("Negotiate", False),
        ("", False),
    ],
)
def test_digest_is_wanted_where_basic_is_not_enough(challenges: str, *, expected: bool) -> None:
    assert wants_digest(challenges) is expected


ASKED = [
    # (status, challenges, login given, proxy, code, words of the message)
    (401, "", False, "", "http_401", ["origin", "--user"]),
    (401, 'Basic realm="a"', False, "", "http_401", ["origin", "Basic", "--user"]),
    (401, 'Basic realm="a"', True, "", "http_401", ["Basic", "does not accept the given login"]),
    (401, 'Digest realm="a"', False, "", "http_401", ["Digest", "--user"]),
    (401, 'Digest realm="a"', True, "", "http_401", ["Digest", "does not accept the given login"]),
    *[
        (401, f'Digest realm="algorithm=x", nonce="n", {form}', True, "", "http_401", words)
        for form, words in {
            "algorithm=MD5": ["does not accept the given login"],
            'algorithm="SHA-256", qop="auth-int, auth"': ["does not accept the given login"],
            "algorithm=SHA-512-256-sess": ["does not accept the given login"],
            "stale=true, userhash=true": ["does not accept the given login"],
            "algorithm=FOO": ["Digest by FOO", "not supported"],
            "qop=auth-int": ["Digest by auth-int", "not supported"],
            'algorithm=MD5, qop="token\x1b[31m"': ["Digest by token??31m", "not supported"],
        }.items()
    ],
    (401, "Negotiate", True, "", "http_401", ["Negotiate", "not supported", "Basic and Digest"]),
    (401, "NTLM", False, "", "http_401", ["NTLM", "not supported"]),
    (401, "Negotiate, NTLM", False, "", "http_401", ["Negotiate, NTLM", "not supported"]),
    (401, 'Negotiate, Basic realm="a"', False, "", "http_401", ["--user"]),
    (401, "Bearer", True, "", "http_401", ["Bearer", "Authorization: Bearer TOKEN"]),
    (407, 'Basic realm="p"', False, "http://p:1", "proxy_login", ["proxy", "Basic", "SEEN_PROXY"]),
    (407, "Digest x", False, "http://u:p@p:1", "proxy_login", ["proxy", "does not accept"]),
    (407, "Negotiate", False, "http://p:1", "proxy_login", ["proxy", "not supported"]),
    (407, "", False, "http://p:1", "proxy_login", ["proxy", "SEEN_PROXY"]),
    (407, 'Basic realm="p"', False, "", "http_407", ["origin answered 407"]),
]


@pytest.mark.parametrize(("status", "challenges", "given", "proxy", "code", "words"), ASKED)
def test_message_says_who_asks_for_what_and_what_to_do(
    status: int, challenges: str, *, given: bool, proxy: str, code: str, words: list[str]
) -> None:
    answer = Response(status, {"www-authenticate": challenges, "proxy-authenticate": challenges})
    login = ("ada", "secret") if given else (None, None)
    request = Request(url="http://a/", username=login[0], password=login[1], proxy=proxy)
    error = error_for_response(answer, request)
    assert error.code == code
    assert [word for word in words if word not in str(error)] == []
    assert "u:p" not in str(error)
