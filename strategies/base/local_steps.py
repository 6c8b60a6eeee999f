"""A client's steps of SGD from the head that it is sent, for a stack of clients at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors, in_round, kept_back
from fedtl.transfer.minibatches import Minibatch, alike, minibatches, steps_of
from strategies.base.halves import Arrays, Received, Trained

State = dict[str, Tensors]

Gradient = Callable[[Tensors], Tensors]
"""Returns the gradients of a minibatch's mean loss with weight decay, at some parameters.

They are new tensors, the caller's to change.
"""


class LocalSteps:
    """The client half of a strategy whose clients take gradient steps.

    It is four functions on named groups of tensors with a leading client axis; the engine stacks
    as many clients as it likes. ``client_step`` is given views of the clients that still have
    examples and updates them in place. As written here they are the ClientUpdate of McMahan et al.
    (AISTATS 2017, algorithm 1), with momentum and weight decay.
    """

    config: RunConfig
    head: Head

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Return the clients' state before their first step: the global head, at rest."""
        return {
            "parameters": {name: value.clone() for name, value in received.head.items()},
            "velocity": {name: torch.zeros_like(value) for name, value in received.head.items()},
        }

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take one step, in place, from a minibatch.

        The loss at the first point that ``gradient`` is asked for is the one that is reported.
        """
        self.sgd_step(state, gradient(state["parameters"]))

    def sgd_step(
        self,
        state: State,
        gradients: Tensors,
        *,
        parameters: str = "parameters",
        velocity: str = "velocity",
    ) -> None:
        """Take the step of SGD, in place: v ← μ v + g,  w ← w - η v, as ``torch.optim.SGD``.

        Args:
            state: The clients' state.
            gradients: g.
            parameters: The group of it that is w.
            velocity: The group of it that is v.
        """
        for name, gradient in gradients.items():
            v = state[velocity][name].mul_(self.config.momentum).add_(gradient)
            state[parameters][name].sub_(v, alpha=self.config.learning_rate)

    def client_final(self, state: State) -> Tensors:
        """Return what the clients send: by default, the trained head."""
        return state["parameters"]

    def client_memory(self, state: State) -> Tensors:
        """Return what the clients keep for their next round: the arrays that ``memory`` names."""
        return {}

    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Run the client half for ``local-epochs`` epochs, on stacks of clients of like size."""
        trained: dict[int, Trained] = {}
        block = block.seen_by(self.head)
        for width, clients in alike(block, self.config.batch_size):
            stack = block.select(clients)
            results = self._train_stack(stack, received.select(clients), width, server_round)
            trained.update(zip(clients.tolist(), results, strict=True))
        return [trained[client] for client in range(len(block))]

    def _train_stack(
        self, block: ClientBlock, received: Received, width: int, server_round: int
    ) -> list[Trained]:
        """Step clients that share a batch width; those with fewest minibatches are last."""
        state, plan = self.client_init(received, block), list(self._plan(block, width))
        head = in_round(self.head, server_round)
        if any(clients is not None for clients, _ in plan):
            # What follows writes into every tensor, and some are views of what all were sent.
            state = _of(state, torch.arange(len(block)))
        loss_sum = torch.zeros(len(block), dtype=torch.float64)
        seen = torch.zeros(len(block), dtype=torch.float64)
        for epoch, (clients, steps) in enumerate(plan):
            part, working, loss, count = block, state, loss_sum, seen
            if clients is not None:
                here = torch.from_numpy(clients)
                part, working = block.select(clients), _of(state, here)
                loss, count = loss_sum[here], seen[here]
            for batch in minibatches(
                part,
                width,
                seed=self.config.seed,
                server_round=server_round,
                epoch=epoch,
                steps=steps,
            ):
                at = _Differentiated(head, self.config.weight_decay, batch)
                self.client_step(_first(working, batch.active), at)
                examples = batch.weight.sum(1)
                loss[: batch.active] += at.loss.double() * examples
                count[: batch.active] += examples
            if clients is not None:
                _put_back(state, working, here)
                loss_sum[here], seen[here] = loss, count
        sent, kept = _by_client(self.client_final(state)), _by_client(self.client_memory(state))
        for name in kept_back(head):
            sent.pop(name, None)
        losses = (loss_sum / seen).tolist()
        return [
            Trained(
                arrays={name: value[client] for name, value in sent.items()},
                loss=loss,
                memory={name: value[client] for name, value in kept.items()},
            )
            for client, loss in enumerate(losses)
        ]

    def _plan(
        self, block: ClientBlock, width: int
    ) -> Iterator[tuple[NDArray[np.int64] | None, NDArray[np.int64]]]:
        """Yield, for each local epoch, the order of clients by falling steps, and their steps.

        The order is ``None`` if it is the block's own. Stragglers end early, in whichever epoch
        that is, and so do clients that need fewer epochs than others.
        """
        steps = steps_of(block.sizes, width)
        budget = self.local_steps(steps)
        if block.effort is None and (budget == self.config.epochs * steps).all():
            yield from [(None, steps)] * self.config.epochs
            return
        if block.effort is not None:
            budget = np.maximum(1, (block.effort * budget).astype(np.int64))
        for epoch in range(int((-(-budget // steps)).max())):
            left = (budget - epoch * steps).clip(0, steps)
            order = np.argsort(-left, kind="stable")
            yield order, left[order]

    def local_steps(self, of_epoch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many steps clients take in a round: ``local-epochs`` epochs of them.

        Args:
            of_epoch: Minibatches that each client has, shape ``(C,)``.
        """
        return self.config.epochs * of_epoch


class PlainSGD(LocalSteps):
    """The client half as it stands, with no server."""

    def __init__(self, config: RunConfig, head: Head) -> None:
        self.config = config
        self.head = head

    def trained(self, block: ClientBlock, heads: Tensors, server_round: int) -> Tensors:
        """Return each client's head after ``local-epochs`` epochs, each ``(C, *shape)``."""
        trained = self.client_train(block, Received(heads), server_round)
        return {
            name: torch.from_numpy(np.stack([client.arrays[name] for client in trained]))
            if name in trained[0].arrays
            else value
            for name, value in heads.items()
        }


def fine_tuned(config: RunConfig, head: Head, block: ClientBlock, heads: Tensors) -> Tensors:
    """Return each client's head after ``personalise`` epochs of SGD on its own examples.

    Args:
        config: The run's configuration.
        head: The form of the heads.
        block: C clients.
        heads: Where they begin, each ``(C, *shape)``.
    """
    epochs = config.replace(local_epochs=config.personalise)
    # Shuffled as in the round after the last, in which no client has trained.
    return PlainSGD(epochs, head).trained(block, heads, config.most_rounds + 1)


class _Differentiated:
    """The gradients of one minibatch, wherever they are asked for; a :data:`Gradient`.

    Attributes:
        loss: Each client's mean loss at the first point asked for, shape ``(A,)``.
    """

    def __init__(self, head: Head, weight_decay: float, batch: Minibatch) -> None:
        self._head, self._batch, self._weight_decay = head, batch, weight_decay
        self._loss: torch.Tensor | None = None

    def __call__(self, parameters: Tensors) -> Tensors:
        loss, gradients = self._head.loss_and_gradients(
            parameters, self._batch.x, self._batch.y, self._batch.weight
        )
        if self._loss is None:
            self._loss = loss
        for name, gradient in gradients.items():
            gradient.add_(parameters[name], alpha=self._weight_decay)
        return gradients

    @property
    def loss(self) -> torch.Tensor:
        if self._loss is None:
            raise TypeError("client_step asked for no gradient")
        return self._loss


def _first(state: State, count: int) -> State:
    """Return views of the first ``count`` clients of every tensor of a state."""
    return {
        group: {name: value[:count] for name, value in tensors.items()}
        for group, tensors in state.items()
    }


def _of(state: State, clients: torch.Tensor) -> State:
    """Return copies of these clients' part of a state, in this order."""
    return {
        group: {name: value[clients] for name, value in tensors.items()}
        for group, tensors in state.items()
    }


def _put_back(state: State, part: State, clients: torch.Tensor) -> None:
    """Undo :func:`_of`."""
    for group, tensors in part.items():
        for name, value in tensors.items():
            state[group][name][clients] = value


def _by_client(tensors: Tensors) -> Arrays:
    return {name: value.numpy() for name, value in tensors.items()}
