"""What runs fedtl's own clients in an actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flwr.app import Context, Message

from fedtl.config import RunConfig
from fedtl.federation.client import answer
from fedtl.federation.simulated_sites import SimulatedSites


@dataclass(frozen=True)
class FedtlClients:
    """Answers for a block of clients: see :data:`fedtl.engine.block_app.BlockApp`."""

    config: RunConfig
    sites: SimulatedSites

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        """Return the replies, in order."""
        return answer(messages, contexts, config=self.config, open_site=self.sites)


@dataclass(frozen=True)
class MakeFedtlClients:
    """Makes :class:`FedtlClients` in an actor."""

    clients: FedtlClients

    def __call__(self) -> FedtlClients:
        """Return them; the features are mapped when first needed."""
        return self.clients
