"""Strategies whose clients send statistics once, from which the server computes the head."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.standardisation import Standardisation
from strategies.base.strategy import AloneHead, Arrays, HeadStrategy, Received, Reply, Trained


class ClosedFormStrategy(HeadStrategy):
    """A strategy whose clients send statistics once, from which the server computes the head."""

    reply_record = "statistics"
    standardises = False
    one_round = True

    @abstractmethod
    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return one client's statistics."""

    @abstractmethod
    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head that summed statistics determine."""

    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Compute every client's statistics; there is no loss to report."""
        return [
            Trained(self.client_statistics(block, client), float("nan"))
            for client in range(len(block))
        ]

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Sum the statistics and solve."""
        total: Arrays | None = None
        for reply in replies:
            if total is None:
                total = {name: value.copy() for name, value in reply.arrays.items()}
            else:
                for name, value in reply.arrays.items():
                    total[name] += value
        return None if total is None else self.solve(total)

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Solve from each client's own statistics."""
        identity = Standardisation.identity(block.features.shape[1])
        return [
            AloneHead(self.solve(self.client_statistics(block, client)), identity)
            for client in range(len(block))
        ]
