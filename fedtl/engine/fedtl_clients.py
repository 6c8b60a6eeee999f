"""What runs fedtl's own clients in an actor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flwr.app import Context, Message

import strategies
from fedtl.client.alone import LoneHeads, lone_heads
from fedtl.client.answers import answer
from fedtl.config import RunConfig
from fedtl.engine.inline_grid import InlineGrid
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.scenario.layer import Scenario
from fedtl.transfer.heads import head_of

_BLOCK_REPLY_BYTES = 16 * 2**20
_LARGEST_BLOCK = 128


@dataclass(frozen=True)
class FedtlClients:
    """Answers for a block of clients in the scenario: see
    :data:`fedtl.engine.block_app.BlockApp`.
    """

    config: RunConfig
    sites: SimulatedSites
    lone_heads: LoneHeads = lone_heads

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        """Return the replies, in order."""
        return answer(
            messages,
            contexts,
            config=self.config,
            open_site=self.sites,
            lone_heads=self.lone_heads,
            layer=Scenario(self.config),
            caught=self.config.catches,
        )

    @property
    def block(self) -> int:
        """How many clients to answer for in one call: so many that their replies stay small."""
        head = head_of(
            self.config,
            features=self.sites.features.feature_size,
            classes=len(self.sites.class_names),
        )
        strategy = strategies.build(self.config, head)
        uplinks = [one.uplink for one in (strategy, strategy.starter) if one is not None]
        reply = 8 * max(sum(map(math.prod, uplink.values())) for uplink in uplinks)
        return max(1, min(_LARGEST_BLOCK, _BLOCK_REPLY_BYTES // max(reply, 1)))


def inline_grid(config: RunConfig, clients: FedtlClients) -> InlineGrid:
    """Return a grid of clients in this process, with ``engine = debug`` one after the other."""
    block = clients.block if config.catches else 1
    run_config = config.to_mapping()
    return InlineGrid(config.clients, clients, run_config, block=block, caught=config.catches)


@dataclass(frozen=True)
class MakeFedtlClients:
    """Makes :class:`FedtlClients` in an actor."""

    clients: FedtlClients

    def __call__(self) -> FedtlClients:
        """Return them; the features are mapped when first needed."""
        return self.clients
