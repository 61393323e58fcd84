"""What an operator is told of a platform that could not work: all of it, with what is expected, and no secret."""

import base64
import json
from typing import Any

import pytest

from jobs.platforms.base import PlatformConfig
from jobs.platforms.registry import PROTOCOLS, complaints
from tests.stubs.generic_stub import OPTIONS

JWKS = json.dumps(
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(bytes(32)).decode()}]}
)


def told(protocol: str = "replicate", **said: Any) -> list[str]:
    """`field: message` of each complaint."""
    base = {"options": OPTIONS} if protocol == "generic" else {}
    config = PlatformConfig(
        name="p", protocol=protocol, **{"base_url": "https://api.example.com/v1", **base, **said}
    )
    return [f"{c.field}: {c.message % c.params}" for c in complaints(config)]


@pytest.mark.req("E-02")
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_nothing_is_said_of_what_works(protocol: str) -> None:
    secret = JWKS if protocol == "fal" else "whsec_c2VjcmV0LWZvci10ZXN0cy1vbmx5"
    common = {
        "two_phase_cancel": True,
        "partial_refund": False,
        "poll_first_s": 1,
        "poll_last_s": 2.5,
    }
    more = OPTIONS if protocol == "generic" else {}
    assert told(protocol, credential="ak:sk", webhook_secret=secret, options=common | more) == []
    assert told(protocol, base_url="http://127.0.0.1:8027", allow_private=True) == []
    for later in ("http://intern.example:8027", "https://8.8.8.8/x", "http://[2606:4700::1111]"):
        assert told(protocol, base_url=later) == []


INNER: tuple[str, ...] = (
    "127.0.0.1:8027",
    "localhost",
    "LOCALHOST.:80",
    "api.localhost",
    "10.1.2.3",
    "127.1",
)
INNER += ("192.168.0.1", "169.254.169.254", "0x7f000001", "2130706433", "[::1]", "[fe80::1]")
INNER += ("[::ffff:10.0.0.1]", "0.0.0.0", "[fd00::1]:8080")


@pytest.mark.req("T-05", "A-04")
@pytest.mark.parametrize("authority", INNER)
def test_a_private_address_is_refused_where_it_is_said_unless_it_is_allowed(
    authority: str,
) -> None:
    [said] = told(base_url=f"http://{authority}/v1")
    assert said.startswith("base_url: ") and "allow_private" in said
    assert told(base_url=f"http://{authority}/v1", allow_private=True) == []


@pytest.mark.req("E-02", "T-04")
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("wrong", ["se:cret\n", " se:cret", "se:\x00cret", "se:crét", "se:c\rret"])
def test_a_credential_that_no_header_carries_is_refused_and_not_repeated(
    protocol: str, wrong: str
) -> None:
    [said] = told(protocol, credential=wrong)
    assert said.startswith("credential: ")
    assert "printable ASCII is expected" in said
    assert "cret" not in said


@pytest.mark.req("E-02")
@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example",
        "https://",
        "https://a b.example",
        "https://x.example/\n",
        "https://user:pw@x.example",
        "https://x.example:99999",
        "https://x.example/?key=1",
        "https://x.example/#top",
        "x.example",
        "",
    ],
)
def test_an_address_that_cannot_be_called_is_refused(url: str) -> None:
    [said] = told(base_url=url)
    assert said.startswith("base_url: ")
    assert "pw" not in said


@pytest.mark.req("E-02")
@pytest.mark.parametrize("wrong", ["only", ":sk", "ak:", "a:b:c", "ak: "])
def test_a_kling_credential_has_two_parts(wrong: str) -> None:
    assert "credential: The credential of this protocol is `access key:secret key`" in told(
        "kling", credential=wrong
    )


@pytest.mark.req("E-02")
@pytest.mark.parametrize("wrong", ["whsec_c2VjcmV0", "{}", '{"keys": []}', "{"])
def test_fals_webhook_secret_is_a_document_of_keys(wrong: str) -> None:
    [said] = told("fal", webhook_secret=wrong)
    assert said.startswith("webhook_secret: ") and "JWKS" in said


@pytest.mark.req("E-02")
@pytest.mark.parametrize("wrong", ["whsec_", "whsec_not base64!", "whsec_abcde", "a\nb"])
def test_a_webhook_secret_that_is_none_is_refused(wrong: str) -> None:
    [said] = told(webhook_secret=wrong)
    assert said.startswith("webhook_secret: ")
    assert "base64!" not in said


@pytest.mark.req("E-02")
@pytest.mark.parametrize(
    ("protocol", "changed", "words"),
    [
        ("replicate", {"pool_first_s": 1}, "There is no option 'pool_first_s'; known here are"),
        ("replicate", {"partial_refund": "no"}, "'partial_refund' is wrong: Expected `bool`"),
        ("replicate", {"poll_first_s": 5, "poll_last_s": 1}, "0 < first <= last"),
        ("replicate", {"poll_first_s": 5}, "go together"),
        ("fal", {"jwks_url": "nowhere"}, "'jwks_url' must be an address"),
        ("openai_batch", {"project": "a\nb"}, "'project' goes into a header"),
        ("openai_batch", {"organisation": "x"}, "no option 'organisation'"),
        ("generic", {"colour": "red"}, "no option 'colour'"),
        ("generic", {"poll": {"uri": "/x"}}, "no option 'poll.uri'"),
        ("generic", {"poll": {"url": "/jobs"}}, "'poll.url' needs {id}"),
        ("generic", {"poll": {"url": "/jobs/{id}/{no}"}}, "'poll.url': {no} means nothing here"),
        ("generic", {"poll": {"url": "jobs/{id}"}}, "'poll.url' is a path below `base_url`"),
        ("generic", {"poll": {"url": "https://evil.example/{id}"}}, "'poll.url' is a path below"),
        ("generic", {"poll": 1}, "'poll' is wrong: Expected `object`"),
        ("generic", {"cancel": {"url": "/c/{id}", "method": "STOP"}}, "'cancel.method' is one of"),
        ("generic", {"batch": {"url": "/b"}}, "'batch.url' needs {ids}"),
        ("generic", {"batch": {"url": "/b?{ids}", "most": 0}}, "'batch.most' is wrong"),
        ("generic", {"statuses": {"a": "DONE"}}, "'statuses.a': 'DONE' is none of ours"),
        ("generic", {"statuses": {"a": 1}}, "'statuses' is wrong"),
        ("generic", {"auth_header": "X Key"}, "'auth_header' is the name of a header"),
        ("generic", {"auth_template": "Key\n{credential}"}, "'auth_template' goes into a header"),
    ],
)
def test_options_that_cannot_work_are_named_with_what_is_expected(
    protocol: str, changed: dict[str, Any], words: str
) -> None:
    base = OPTIONS if protocol == "generic" else {}
    said = told(protocol, options=base | changed)
    assert any(words in line for line in said), said


@pytest.mark.req("E-02")
def test_all_that_is_wrong_is_said_at_once() -> None:
    said = told(
        "generic",
        base_url="https://x.example/?a",
        credential="a\n",
        options={"submit": {"url": "x", "colour": 1}, "statuses": {"a": "DONE"}, "n": 1},
    )
    for words in (
        "base_url",
        "credential",
        "submit.colour",
        "submit.url",
        "'n'",
        "'poll' is missing",
    ):
        assert any(words in line for line in said), words
    assert any("statuses.a" in line for line in said)
