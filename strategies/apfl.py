"""APFL: a client's head is part its own, part the global one, and learns as that mixture.

Deng, Kamani & Mahdavi, "Adaptive Personalized Federated Learning", 2020 (arXiv 2003.13461),
algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from strategies.base import AloneHead, Gradient, Number, Options, Range, Received, State, heads_of
from strategies.base.own_head import OwnHead
from strategies.fedavg import FedAvg


class APFL(OwnHead, FedAvg):
    """Client k uses v̄ₖ = α vₖ + (1 - α) wₖ, and steps vₖ ← vₖ - η α ∇Fₖ(v̄ₖ), wₖ ← wₖ - η ∇Fₖ(wₖ).

    wₖ begins each round at the global head, which the server averages as FedAvg; vₖ stays at the
    client. α ∇Fₖ(v̄ₖ) is the derivative of Fₖ(v̄ₖ) by vₖ. α = ``apfl-alpha`` is the same for all and
    fixed: the paper's option of learning it is left out. At the end wₖ is the final global head.

    Both step on the same minibatches, each with a momentum of its own that begins anew every round.
    vₖ begins at the global head that client k receives first; so does the head of a client that
    never trained.
    """

    options = Options(
        "apfl",
        alpha=Number(
            0.5,
            "Share of a client's own part in its head.",
            low=0.0,
            high=1.0,
            tune=Range(0.05, 1.0, log=False),
        ),
    )

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD along ∇Fₖ(wₖ), and for vₖ along α ∇Fₖ(v̄ₖ)."""
        shared = gradient(state["parameters"])
        own = gradient(self._mixed(state["own"], state["parameters"]))
        for slope in own.values():
            slope.mul_(self.options.alpha)
        self.sgd_step(state, shared)
        self.sgd_step(state, own, parameters="own", velocity="own-velocity")

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Return v̄ₖ of the final global head."""
        return heads_of(block, self._mixed(received.memory, received.head))

    def _mixed(self, own: Tensors, shared: Tensors) -> Tensors:
        alpha = self.options.alpha
        return {name: alpha * v + (1 - alpha) * shared[name] for name, v in own.items()}


STRATEGY = APFL
