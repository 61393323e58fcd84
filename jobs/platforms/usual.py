"""What most platforms do alike; an adapter says only what its own does otherwise."""

from collections.abc import Mapping

from jobs.platforms.base import Accepted, PlatformConfig, PollRequest, PollResult, Transient
from jobs.platforms.connections import Client
from jobs.platforms.webhooks import verify_standard
from jobs.platforms.wire import Wire, each


class UsualAdapter:
    """A bearer token, no look-up, a request per poll, webhooks signed by Standard Webhooks.

    `strip`: an end of `base_url` that the adapter's own paths begin with.
    """

    supports_lookup: bool = False

    def __init__(
        self,
        config: PlatformConfig,
        client: Client,
        *,
        headers: Mapping[str, str] | None = None,
        strip: str = "",
    ) -> None:
        self._config = config
        self._wire = Wire(config, client, strip=strip)
        bearer = {"Authorization": f"Bearer {config.credential}"}
        self._headers = bearer if headers is None else dict(headers)

    async def lookup(self, reference: str) -> Accepted | Transient | None:
        return Transient(reason="the platform has no look-up")

    async def poll(self, requests: list[PollRequest]) -> dict[str, PollResult]:
        return await each(requests, self._poll)

    async def _poll(self, request: PollRequest) -> PollResult:
        raise NotImplementedError

    async def prepare_webhook(self, now_s: float) -> None:
        return None

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        verify_standard(self._config.webhook_secret, headers, body, now_s)
