"""Whatever a platform answers, an adapter answers with one of its own results and never with an exception."""

import asyncio
import contextlib
import json
import re
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.platforms import base
from jobs.platforms.connections import Client
from jobs.platforms.registry import PROTOCOLS, adapter_for
from tests.stubs.generic_stub import OPTIONS
from tests.stubs.harness import asked, platform

PAYLOADS: dict[str, dict[str, Any]] = {
    "replicate": {"version": "v", "input": {}},
    "fal": {"app": "a/b", "arguments": {}},
    "openai_batch": {"endpoint": "/v1/x", "requests": [{}]},
    "kling": {"prompt": "p"},
    "generic": {},
}
WORDS = (
    "succeeded",
    "processing",
    "COMPLETED",
    "completed",
    "failed",
    "succeed",
    "ok",
    "busy",
    "cancelled",
    "",
)
KEYS = [
    "id",
    "status",
    "output",
    "error",
    "errors",
    "logs",
    "urls",
    "get",
    "cancel",
    "request_id",
    "status_url",
    "error_type",
    "data",
    "task_id",
    "task_status",
    "task_result",
    "code",
    "message",
    "job",
    "no",
    "state",
    "files",
    "done",
    "jobs",
    "metadata",
    "taskcenter_reference",
    "request_counts",
    "total",
    "completed",
    "has_more",
    "last_id",
    "detail",
]
WORD = st.sampled_from([*WORDS, "a", "x1", "ref-1", "http://127.0.0.1/x", "..", "a\0b"])
LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | WORD
    | st.text(max_size=5)
)
JSON = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=12,
)
CODE = st.sampled_from([200, 200, 200, 201, 204, 302, 307, 400, 401, 404, 409, 422, 429, 500, 503])
HEADERS = st.sampled_from(
    [{}, {"Retry-After": "5"}, {"Retry-After": "never"}, {"x-fal-error-type": "e"}]
)
BODY = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)


Reply = tuple[int, dict[str, str], bytes]


async def _serve(reply: Reply) -> asyncio.Server:
    """Answers every request alike."""
    code, headers, body = reply
    lines = [f"HTTP/1.1 {code} x", *(f"{name}: {value}" for name, value in headers.items())]
    if code != 204:
        lines.append(f"Content-Length: {len(body)}")
    answer = "\r\n".join([*lines, "", ""]).encode() + (b"" if code == 204 else body)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(answer)

    return await asyncio.start_server(talk, "127.0.0.1", 0)


async def _everything(protocol: str, reply: Reply) -> list[object]:
    options = OPTIONS if protocol == "generic" else {}
    server = await _serve(reply)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = platform(protocol, url, options=options)
    two = [
        base.PollRequest(task_id=name, external_id=name, urls={"status": f"{url}/s"})
        for name in "ab"
    ]
    async with server, Client() as client:
        adapter = adapter_for(config, client)
        submitted = await adapter.submit(asked(PAYLOADS[protocol]))
        polled = await adapter.poll(two) | await adapter.poll(two[:1])
        assert sorted(polled) == ["a", "b"]
        await adapter.prepare_webhook(0)
        return [
            submitted,
            *polled.values(),
            await adapter.cancel(two[0]),
            await adapter.lookup("ref-1"),
        ]


@pytest.mark.req("E-01", "R-05", "F07", "S24")
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@settings(max_examples=150, deadline=None)
@given(code=CODE, headers=HEADERS, body=BODY)
def test_no_answer_of_a_platform_raises(
    protocol: str, code: int, headers: dict[str, str], body: bytes
) -> None:
    submitted, first, second, cancelled, found = asyncio.run(
        _everything(protocol, (code, headers, body))
    )
    assert isinstance(submitted, get_args(base.SubmitResult))
    assert isinstance(first, get_args(base.PollResult)) and isinstance(
        second, get_args(base.PollResult)
    )
    assert isinstance(cancelled, get_args(base.CancelResult))
    assert found is None or isinstance(found, base.Accepted | base.Transient)
    if not 200 <= code < 300:
        assert not isinstance(submitted, base.Accepted)
        assert not isinstance(first, base.Succeeded | base.Cancelled)


@pytest.mark.req("R-05")
def test_a_batch_that_counts_beyond_every_float_is_billed_whole() -> None:
    counts = {"total": 1, "completed": 10**400}
    body = {"id": "a", "status": "cancelled", "request_counts": counts}
    answers = asyncio.run(_everything("openai_batch", (200, {}, json.dumps(body).encode())))
    assert [getattr(answer, "billed", None) for answer in answers[1:3]] == [1.0, None]
