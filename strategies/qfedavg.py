"""q-FedAvg: clients with a larger loss weigh more.

Li, Sanjabi, Beirami & Smith, "Fair Resource Allocation in Federated Learning", ICLR 2020,
algorithm 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from fedtl.transfer.scoring import score_clients
from strategies.base import Arrays, Number, Options, Received, Reply, State
from strategies.base.averaging import as_head
from strategies.base.momentum import WeighedSteps
from strategies.base.plausible import Told, too_large, too_large_loss

_LOSS, _WEIGHT = "loss", "step-weight"


class QFedAvg(WeighedSteps):
    """w ← w - Σ Fₖ^q Δₖ / Σ (q Fₖ^(q-1) ‖Δₖ‖² + L Fₖ^q), with Δₖ = L (w - wₖ).

    Fₖ is client k's mean training loss at w, q = ``qfedavg-q``. With q = 0 it is the plain mean of
    the clients.

    Δₖ is to be of the length of a gradient. The paper has L = 1/η for the clients' learning rate η:
    right for one step without momentum. Here a client's change is η ‖aₖ‖₁ times its mean gradient
    (:mod:`strategies.base.momentum`), and so L = 1 / (η ‖a‖₁) with the mean ‖a‖₁ of the round's
    clients. The paper's L would take Δₖ for ‖a‖₁ gradients and ‖Δₖ‖² for ‖a‖₁² times as much: the
    denominator then stops the server almost where it is.
    """

    # Not q: which accuracy is highest says nothing of how fairly it is spread.
    options = Options(
        "qfedavg",
        q=Number(1.0, "How much a client's loss weighs; 0 is not at all.", low=0.0, high=100.0),
    )

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the step of algorithm 2, an L taken out of all its terms."""
        q = self.options.q
        total = {name: np.zeros(value.shape, np.float64) for name, value in head.items()}
        count, step_weights, powers, bends = 0, 0.0, 0.0, 0.0
        for reply in replies:
            count += 1
            step_weights += float(reply.arrays[_WEIGHT])
            # A loss of zero has no power below zero.
            loss = max(float(reply.arrays[_LOSS]), 1e-10)
            moves = {name: head[name].astype(np.float64) - reply.arrays[name] for name in head}
            powers += loss**q
            square = sum(float(np.square(move).sum()) for move in moves.values())
            bends += q * loss ** (q - 1) * square
            for name, move in moves.items():
                total[name] += loss**q * move
        if not count:
            return None
        lipschitz = count / (self.config.learning_rate * step_weights)
        denominator = powers + lipschitz * bends
        return as_head({name: head[name] - value / denominator for name, value in total.items()})

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of wₖ, of Fₖ and of ‖aₖ‖₁."""
        return {**self.head.shapes, _LOSS: (), _WEIGHT: ()}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at wₖ, Fₖ and ‖aₖ‖₁."""
        limit = self.config.reply_limit
        return (
            self.wrong_weight(float(arrays[_WEIGHT]), told.examples)
            or too_large_loss(float(arrays[_LOSS]), len(told.label_counts), limit)
            or too_large({name: arrays[name] for name in told.head}, told.head, limit)
        )

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from w, whose loss on the training examples is taken first."""
        scores = score_clients(self.head, received.head, block, block.rows)
        losses = torch.tensor([score.loss for score in scores], dtype=torch.float32)
        return {**super().client_init(received, block), "loss": {_LOSS: losses}}

    def client_final(self, state: State) -> Tensors:
        """Return wₖ, Fₖ and ‖aₖ‖₁."""
        return {**state["parameters"], **state["loss"], _WEIGHT: state["weight"]["total"]}


STRATEGY = QFedAvg
