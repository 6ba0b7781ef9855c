"""Signatures are those of Standard Webhooks."""

from __future__ import annotations

import base64

from worker.webhooks.signatures import new_secret, signature, signed_headers

#: The example of the specification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_example_of_the_specification() -> None:
    assert signature(SECRET, MESSAGE_ID, TIMESTAMP, BODY) == SIGNATURE
    assert signed_headers([SECRET], MESSAGE_ID, TIMESTAMP, BODY) == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_each_secret_signs_while_one_is_replaced() -> None:
    other = new_secret()
    signatures = signed_headers([other, SECRET], MESSAGE_ID, TIMESTAMP, BODY)["webhook-signature"]
    assert signatures.split(" ") == [signature(other, MESSAGE_ID, TIMESTAMP, BODY), SIGNATURE]


def test_new_secrets_differ_and_have_the_length_that_the_specification_asks_for() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert 24 <= len(base64.b64decode(first.removeprefix("whsec_"))) <= 64
