"""Local-only training, without federation, as a run of its own to compare others with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fedtl.transfer.client_block import ClientBlock
from strategies.base import AloneHead, Arrays, IterativeStrategy, Received, Reply, Trained


class Local(IterativeStrategy):
    """wₖ is client k's local-only head: the best that its own examples give, solved exactly.

    Clients send no array, and the server's head stays as it was. It is the head that every strategy
    is compared with, bit for bit (:mod:`fedtl.transfer.lone_head`).
    """

    one_round = True
    standardises = False
    own_heads = True
    global_head = False

    # --- the server half ----------------------------------------------------------------------

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Leave the head as it is."""
        return head if sum(1 for _ in replies) else None

    # --- the client half ----------------------------------------------------------------------

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Nothing leaves."""
        return {}

    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Do nothing: the closing evaluation solves for local-only heads in any run."""
        return [Trained({}, float("nan")) for _ in range(len(block))]

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Return the clients' local-only heads."""
        return list(alone)


STRATEGY = Local
