"""Webhook signatures, checked against published vectors and the vendors' own verifiers."""

import hashlib
import json
import time

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from replicate.webhook import Webhooks, WebhookSigningSecret

from jobs.platforms.webhooks import (
    WebhookRefused,
    read_body,
    read_jwks,
    sign_standard,
    verify_fal,
    verify_standard,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
VECTOR = {
    "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "Webhook-Timestamp": "1614265330",
    "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


@pytest.mark.req("E-04", "T-05")
def test_the_published_vector_of_standard_webhooks_holds() -> None:
    assert verify_standard(SECRET, VECTOR, BODY, 1614265330) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert (
        sign_standard(SECRET, VECTOR["Webhook-Id"], 1614265330, BODY) == VECTOR["Webhook-Signature"]
    )


@pytest.mark.req("T-05")
def test_the_vendors_verifiers_accept_what_we_sign() -> None:
    now_s = int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign_standard(SECRET, "msg_1", now_s, BODY),
    }
    assert standardwebhooks.Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)
    Webhooks.validate(
        headers=headers, body=BODY.decode(), secret=WebhookSigningSecret(key=SECRET), tolerance=300
    )


@pytest.mark.req("E-04")
@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Id": "msg_other"},
        {"Webhook-Timestamp": "1614265331"},
        {"Webhook-Timestamp": "soon"},
        {"Webhook-Timestamp": ""},
        {"Webhook-Signature": "v1,AAAA"},
        {"Webhook-Signature": "v1"},
        {"Webhook-Signature": "v1,é"},
        {"Webhook-Signature": "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"Webhook-Signature": ""},
    ],
)
def test_any_change_to_the_headers_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(WebhookRefused):
        verify_standard(SECRET, VECTOR | change, BODY, 1614265330)


@pytest.mark.req("E-04")
@pytest.mark.parametrize("now_s", [1614265330 + 301, 1614265330 - 301])
def test_an_old_or_future_webhook_is_refused(now_s: float) -> None:
    with pytest.raises(WebhookRefused):
        verify_standard(SECRET, VECTOR, BODY, now_s)


@pytest.mark.req("E-04")
def test_a_platform_without_a_secret_accepts_no_webhook() -> None:
    with pytest.raises(WebhookRefused):
        verify_standard("", VECTOR, BODY, 1614265330)


@pytest.mark.req("E-04")
def test_while_a_key_is_rotated_one_good_signature_of_several_is_enough() -> None:
    rotated = VECTOR | {"Webhook-Signature": "v1,AAAA " + VECTOR["Webhook-Signature"]}
    assert verify_standard(SECRET, rotated, BODY, 1614265330)


def _fal(key: Ed25519PrivateKey, body: bytes, timestamp: str) -> dict[str, str]:
    message = "\n".join(["req-1", "user-1", timestamp, hashlib.sha256(body).hexdigest()]).encode()
    return {
        "X-Fal-Webhook-Request-Id": "req-1",
        "X-Fal-Webhook-User-Id": "user-1",
        "X-Fal-Webhook-Timestamp": timestamp,
        "X-Fal-Webhook-Signature": key.sign(message).hex(),
    }


@pytest.mark.req("E-04")
def test_fals_ed25519_signature_is_checked_over_body_and_time() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    keys = [k.public_key().public_bytes_raw() for k in (other, key)]
    headers = _fal(key, BODY, "1614265330")
    assert verify_fal(keys, headers, BODY, 1614265330) == "req-1"
    for wrong_keys, body, now_s in ((keys[:1], BODY, 0), (keys, b"{}", 0), (keys, BODY, 301)):
        with pytest.raises(WebhookRefused):
            verify_fal(wrong_keys, headers, body, 1614265330 + now_s)
    with pytest.raises(WebhookRefused):
        verify_fal(keys, headers | {"X-Fal-Webhook-Signature": "zz"}, BODY, 1614265330)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"keys": 1},
        {"keys": [1, {"kty": "RSA"}, {"kty": "OKP", "crv": "Ed25519", "x": "é"}]},
    ],
)
def test_a_broken_jwks_document_gives_no_keys(document: object) -> None:
    assert read_jwks(document) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"a": NaN}'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        read_body(body)
