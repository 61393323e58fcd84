"""Which adapter speaks which protocol."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jobs.domain.errors import Misconfigured
from jobs.platforms import complaints as about
from jobs.platforms.base import Adapter, PlatformConfig
from jobs.platforms.complaints import Complaint
from jobs.platforms.connections import Client
from jobs.platforms.fal import FalAdapter
from jobs.platforms.generic import GenericAdapter
from jobs.platforms.kling import KlingAdapter
from jobs.platforms.openai_batch import OpenAIBatchAdapter
from jobs.platforms.replicate import ReplicateAdapter

_Maker = Callable[[PlatformConfig, Client], Adapter]

PROTOCOLS: MappingProxyType[str, _Maker] = MappingProxyType(
    {
        "replicate": ReplicateAdapter,
        "fal": FalAdapter,
        "openai_batch": OpenAIBatchAdapter,
        "kling": KlingAdapter,
        "generic": GenericAdapter,
    }
)


def cancels_in_two_phases(protocol: str, options: Mapping[str, Any]) -> bool:
    """Whether a cancel only asks and the platform's final word decides; the option `two_phase_cancel` wins."""
    usual = getattr(PROTOCOLS.get(protocol), "two_phase_cancel", False)
    return bool(options.get("two_phase_cancel", usual))


def complaints(config: PlatformConfig) -> list[Complaint]:
    """All that is wrong with a configuration, before anybody is asked to work with it."""
    maker = PROTOCOLS.get(config.protocol)
    own = getattr(maker, "complaints", None)
    found = [
        *about.address(config.base_url, allow_private=config.allow_private),
        *about.credential(config.credential),
    ]
    if maker is not None:
        struct = getattr(maker, "options_type", about.CommonOptions)
        found += about.options(struct, config.options)
        found += about.text_secret(config.webhook_secret) if own is None else own(config)
    return found


def adapter_for(config: PlatformConfig, client: Client) -> Adapter:
    """Cheap: make one per batch of requests. Raises Misconfigured for a protocol or options that are wrong."""
    maker = PROTOCOLS.get(config.protocol)
    if maker is None:
        raise Misconfigured(
            f"{config.name}: unknown protocol {config.protocol!r}", allowed=sorted(PROTOCOLS)
        )
    return maker(config, client)
