"""FedNova: FedAvg of changes per step, so that clients with more steps do not pull further.

Wang, Liu, Liang, Joshi & Poor, "Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization", NeurIPS 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from strategies.base import Arrays, Received, Reply, State
from strategies.base.averaging import as_head, weighted_mean
from strategies.base.momentum import WeighedSteps, total_weight
from strategies.base.plausible import Told, step_size, too_large

_CHANGE = "normalised-change."
_WEIGHT = "step-weight"
_LIMIT = 2.0


class FedNova(WeighedSteps):
    """w ← w + Σₖ pₖ min(τ, m ‖aₖ‖₁) (wₖ - w) / ‖aₖ‖₁ with τ = Σₖ pₖ ‖aₖ‖₁ and pₖ = nₖ / n.

    Client k's change is -η Σᵢ aₖᵢ gᵢ over its steps i; with momentum μ and K steps
    ‖aₖ‖₁ = Σᵢ (1 - μᴷ⁻ⁱ) / (1 - μ) for i = 0 … K-1, without momentum K. Where all take as many
    steps it is FedAvg.

    The limit m = 2 is not the paper's, whose τ has none. A client's change is stretched by
    τ / ‖aₖ‖₁; one of a single step among others of fifty, whose momentum has long gathered, would
    have it stretched about four hundred times, far beyond where its one gradient tells anything.
    Clients below half of the mean ‖a‖₁ count for less than their examples instead. On microscope
    pictures, whose features' Gram has one large eigenvalue, seven points are lost without it.
    """

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Step along the normalised changes, each stretched by the same number or its limit."""
        told = list(replies)
        mean = weighted_mean(Reply(r.examples, {_WEIGHT: r.arrays[_WEIGHT]}) for r in told)
        if mean is None:
            return None
        tau = float(mean[_WEIGHT])
        moved = weighted_mean(
            Reply(
                reply.examples,
                {
                    name: min(tau, _LIMIT * float(reply.arrays[_WEIGHT]))
                    * reply.arrays[_CHANGE + name].astype(np.float64)
                    for name in head
                },
            )
            for reply in told
        )
        assert moved is not None
        return as_head({name: value + moved[name] for name, value in head.items()})

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of (wₖ - w) / ‖aₖ‖₁, and ‖aₖ‖₁ itself."""
        changes = {_CHANGE + name: shape for name, shape in self.head.shapes.items()}
        return {**changes, _WEIGHT: ()}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at ‖aₖ‖₁, and at wₖ - w, which it makes of the change that is sent."""
        weight = float(arrays[_WEIGHT])
        if fault := self.wrong_weight(weight, told.examples):
            return fault
        return too_large(_moves(arrays, told.head), told.head, self.config.reply_limit)

    def size(self, arrays: Arrays, told: Told) -> float:
        """Return how far wₖ lies from w."""
        return step_size(_moves(arrays, told.head), told.head)

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from w; no step has weight yet."""
        return {**super().client_init(received, block), "global": received.head}

    def client_final(self, state: State) -> Tensors:
        """Return the normalised change and ‖aₖ‖₁."""
        changes = {
            _CHANGE + name: (w - state["global"][name]) / total_weight(state["weight"], w)
            for name, w in state["parameters"].items()
        }
        return {**changes, _WEIGHT: state["weight"]["total"]}


def _moves(arrays: Arrays, head: Arrays) -> Arrays:
    """Return wₖ - w of a client's arrays, by the names of the head."""
    weight = float(arrays[_WEIGHT])
    return {name: weight * arrays[_CHANGE + name].astype(np.float64) for name in head}


STRATEGY = FedNova
