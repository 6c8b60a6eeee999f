"""Ditto: beside the global head every client learns one of its own, held near it.

Li, Hu, Beirami & Smith, "Ditto: Fair and Robust Federated Learning Through Personalization", ICML
2021, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.transfer.client_block import ClientBlock
from strategies.base import AloneHead, Gradient, Number, Options, Range, Received, State, heads_of
from strategies.base.own_head import OwnHead
from strategies.fedavg import FedAvg


class Ditto(OwnHead, FedAvg):
    """Client k steps vₖ ← vₖ - η (∇Fₖ(vₖ) + λ (vₖ - wₜ)), and from wₜ as FedAvg's clients do.

    The server averages as FedAvg: it does not use vₖ, which never leaves the client. λ =
    ``ditto-lambda``.

    Both heads step on the same minibatches, each with a momentum of its own that begins anew every
    round. vₖ begins at the global head that client k receives first; the paper has w₀ for all,
    which is the same for clients of the first round. A client that never trained uses the final
    global head.
    """

    options = Options(
        "ditto",
        lambda_=Number(
            0.1,
            "Pull of personal heads to the global one.",
            low=0.0,
            high=1e6,
            tune=Range(1e-3, 10.0),
        ),
    )

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from wₜ and from vₖ, and keep wₜ in sight."""
        return {**super().client_init(received, block), "global": received.head}

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD from each head, for vₖ along ∇Fₖ(vₖ) + λ (vₖ - wₜ)."""
        self.sgd_step(state, gradient(state["parameters"]))
        gradients = gradient(state["own"])
        for name, slope in gradients.items():
            away = state["own"][name] - state["global"][name]
            slope.add_(away, alpha=self.options.lambda_)
        self.sgd_step(state, gradients, parameters="own", velocity="own-velocity")

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Return vₖ."""
        return heads_of(block, received.memory)


STRATEGY = Ditto
