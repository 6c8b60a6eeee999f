"""Strategies whose clients send statistics once, from which the server computes the head."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedtl.config import RunConfig
from fedtl.records import to_record
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base.contract import Starter
from strategies.base.coordinates import WARM_TEMPERATURE, in_standardised
from strategies.base.halves import AloneHead, Arrays, Received, Reply, Trained, heads_of
from strategies.base.head_strategy import LEVERAGE_RECORD, HeadStrategy
from strategies.base.local_steps import fine_tuned
from strategies.base.plausible import Told


class ClosedFormStrategy(HeadStrategy, Starter):
    """A strategy whose clients send statistics once, from which the server computes the head.

    Attributes:
        temperature: What its logits are divided by before the head is trained further.
    """

    reply_record = "statistics"
    precision = "float64"
    standardises = False
    one_round = True
    temperature = WARM_TEMPERATURE

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._summed: list[int] = []
        self._leverage: Arrays = {}

    @property
    def start_temperature(self) -> float:
        """What its logits are divided by if other strategies start from its head."""
        return self.config.init_temperature or self.temperature

    @abstractmethod
    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return one client's statistics."""

    @abstractmethod
    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Return what cannot be in a client's statistics: see :class:`HeadStrategy`."""

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
        self._summed = []
        for reply in replies:
            self._summed.append(reply.client)
            if total is None:
                total = {name: value.copy() for name, value in reply.arrays.items()}
            else:
                for name, value in reply.arrays.items():
                    total[name] += value
        return None if total is None else self.conclude(total)

    @property
    def leaves_out(self) -> bool:
        """Whether its form tells what the head would be without a row, and the run asks for it.

        What a hostile client sent is not what its rows come to, and a head that a client trains
        further is no closed form.
        """
        config = self.config
        wanted = config.own_data_rows == "all" and config.attack == "none"
        own = self.own_heads or config.personalise > 0
        return wanted and not own and bool(self.leverage)

    @property
    def scores_all_rows(self) -> bool:
        """Whether it leaves out rows, and there is a head to leave them out of."""
        return self.leaves_out and bool(self._leverage)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the final head to every client, and its leverage to those that it was summed of.

        To a client that dropped out, or was not asked, all its rows are new.
        """
        messages = list(super().configure_evaluate(server_round, arrays, config, grid))
        if self.scores_all_rows:
            record = to_record(self._leverage)
            content = RecordDict({**messages[0].content, LEVERAGE_RECORD: record})
            for place in self._summed:
                messages[place].content = content
        return messages

    def server_state(self) -> Arrays:
        """Return whose statistics were summed, and the head's leverage."""
        return {"summed": np.array(self._summed, np.float64), **self._leverage}

    def restore_server_state(self, state: Arrays) -> None:
        """Restore them."""
        self._summed = state["summed"].astype(np.int64).tolist()
        self._leverage = {name: state[name] for name in self.leverage if name in state}

    def conclude(self, total: Arrays) -> Arrays:
        """Return the federation's own head, which is what :meth:`solve` makes of all sums."""
        return self.solve(total)

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Solve from each client's own statistics."""
        identity = Standardisation.identity(block.features.shape[1])
        return [
            AloneHead(self.solve(self.client_statistics(block, client)), identity)
            for client in range(len(block))
        ]

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Fine-tune the final head on features that each client standardises for itself."""
        own = [_own_standardisation(block, client) for client in range(len(block))]
        heads = [
            in_standardised(
                {name: value[client].numpy() for name, value in received.head.items()},
                standardisation,
                self.temperature,
            )
            for client, standardisation in enumerate(own)
        ]
        block = block.standardised(own)
        start = {
            name: torch.from_numpy(np.stack([head[name] for head in heads]))
            for name in received.head
        }
        return heads_of(block, fine_tuned(self.config, self.head, block, start))


def _own_standardisation(block: ClientBlock, client: int) -> Standardisation:
    """Return a client's own, with scale 1 where a feature is constant: elsewhere it may vary."""
    own = Standardisation.from_moments(Moments.of(block.features, block.rows[client]))
    return Standardisation(own.mean, np.where(own.scale == 0, np.float32(1), own.scale))
