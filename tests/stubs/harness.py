"""Runs one conversation with a platform's adapter, with a client of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from jobs.platforms.base import Adapter, PlatformConfig, PollRequest, PollResult, SubmitRequest
from jobs.platforms.connections import Client
from jobs.platforms.registry import adapter_for

T = TypeVar("T")


def platform(protocol: str, base_url: str, credential: str = "tok", **more: Any) -> PlatformConfig:
    """A platform on this machine."""
    given: dict[str, Any] = {"allow_private": True, **more}
    return PlatformConfig(
        name="stub", protocol=protocol, base_url=base_url, credential=credential, **given
    )


def talk(config: PlatformConfig, work: Callable[[Adapter], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Client() as client:
            return await work(adapter_for(config, client))

    return asyncio.run(main())


def asked(payload: dict[str, Any], **more: Any) -> SubmitRequest:
    return SubmitRequest(task_id="task_1", reference="ref-1", payload=payload, **more)


async def poll_one(
    adapter: Adapter, external_id: str, urls: dict[str, str] | None = None
) -> PollResult:
    request = PollRequest(task_id="task_1", external_id=external_id, urls=urls or {})
    return (await adapter.poll([request]))["task_1"]
