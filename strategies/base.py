"""What every strategy shares: Flower's server interface, and a client half over a client axis.

A strategy file states two things. The server half: what becomes of the replies of a round. The
client half: what a client does with the head it was sent. Messages, sampling, order, failures and
what may leave a site are not its concern.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.records import array_record, from_record, metric_record, to_record
from fedtl.transfer.client_block import ClientBlock, alike, minibatches
from fedtl.transfer.heads import Head, Tensors
from fedtl.transfer.standardisation import Moments, Standardisation

Arrays = dict[str, NDArray[np.floating]]
State = dict[str, Tensors]


@dataclass(frozen=True)
class Reply:
    """What one client sent back, in partition-id order among its like.

    Attributes:
        examples: Training examples behind it, Flower's ``num-examples``.
        arrays: The arrays or statistics that the client half returned.
    """

    examples: int
    arrays: Arrays


@dataclass(frozen=True)
class Trained:
    """What one client's training gives: arrays to send, and the mean loss in nats on the way."""

    arrays: Arrays
    loss: float


@dataclass(frozen=True)
class AloneHead:
    """The head a client gets without any federation, and the features it expects."""

    arrays: Arrays
    standardisation: Standardisation


class HeadStrategy(Strategy):
    """A Flower strategy for heads on frozen features, with its client half.

    Args:
        config: The run's configuration.
        head: The form of the head.
    """

    reply_record = "arrays"
    standardises = True
    one_round = False

    def __init__(self, config: RunConfig, head: Head) -> None:
        self.config = config
        self.head = head

    # --- to be written by a strategy ----------------------------------------------------------

    @abstractmethod
    def aggregate(self, server_round: int, replies: Iterable[Reply]) -> Arrays | None:
        """Return the next global head, or ``None`` where ``replies`` is empty.

        ``replies`` come once, in partition-id order, with finite arrays of the declared names and
        shapes; a client that failed is not among them.
        """

    @abstractmethod
    def client_train(
        self, block: ClientBlock, parameters: Tensors, server_round: int
    ) -> list[Trained]:
        """Train every client of ``block`` from ``parameters`` (each ``(C, *shape)``)."""

    @property
    @abstractmethod
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every array that a client's training reply carries: no other leaves."""

    @abstractmethod
    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Return the head each client would get by itself, with the same method and budget.

        The block's standardisation is the identity: a lone client has only its own moments.
        """

    def server_state(self) -> Arrays:
        """Return what the server half must remember between rounds, for checkpoints."""
        return {}

    def restore_server_state(self, state: Arrays) -> None:
        """Take back what :meth:`server_state` returned."""

    # --- Flower's interface -------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample this round's clients and address the global head to each.

        The sample belongs to (seed, round). ``grid`` lists its nodes in partition-id order.
        """
        nodes = list(grid.get_node_ids())
        count = max(1, round(self.config.fraction * len(nodes)))
        if count < len(nodes):
            rng = generator(self.config.seed, "sample-clients", server_round)
            nodes = [nodes[i] for i in np.sort(rng.choice(len(nodes), count, replace=False))]
        return _addressed(MessageType.TRAIN, nodes, server_round, arrays, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the replies that carry content, and their example-weighted training loss."""
        losses: list[tuple[int, float]] = []

        def contents() -> Iterator[Reply]:
            for message in replies:
                if message.has_error():
                    continue
                metrics = metric_record(message.content, "metrics")
                examples = int(metrics["num-examples"])  # type: ignore[arg-type]
                losses.append((examples, float(metrics["train-loss"])))  # type: ignore[arg-type]
                record = array_record(message.content, self.reply_record)
                yield Reply(examples, from_record(record))

        arrays = self.aggregate(server_round, contents())
        if arrays is None:
            return None, None
        examples = sum(count for count, _ in losses)
        loss = sum(count * value for count, value in losses) / max(examples, 1)
        return to_record(arrays), MetricRecord({"train-loss": loss, "num-examples": examples})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the final head to every client."""
        nodes = list(grid.get_node_ids())
        return _addressed(MessageType.EVALUATE, nodes, server_round, arrays, config)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return the example-weighted loss and accuracy of the replies that carry content."""
        total, loss, accuracy = 0, 0.0, 0.0
        for message in replies:
            if message.has_content():
                score = metric_record(message.content, "metrics")
                examples = int(score["num-examples"])  # type: ignore[arg-type]
                if examples:
                    total += examples
                    loss += examples * float(score["loss"])  # type: ignore[arg-type]
                    accuracy += examples * float(score["accuracy"])  # type: ignore[arg-type]
        if not total:
            return None
        return MetricRecord(
            {"num-examples": total, "loss": loss / total, "accuracy": accuracy / total}
        )

    def summary(self) -> None:
        """Print nothing: the run folder and the report say what was run."""


class IterativeStrategy(HeadStrategy):
    """A strategy whose clients take gradient steps from the head they are sent.

    The client half is three functions on named groups of tensors with a leading client axis; the
    engine stacks as many clients as it likes. ``client_step`` is given views of the clients that
    still have examples and updates them in place.
    """

    @abstractmethod
    def client_init(self, parameters: Tensors, block: ClientBlock) -> State:
        """Return the clients' state before their first step; it must hold ``"parameters"``."""

    @abstractmethod
    def client_step(self, state: State, gradients: Tensors) -> None:
        """Take one step, in place, from the minibatch's mean gradients."""

    @abstractmethod
    def client_final(self, state: State) -> Tensors:
        """Return what the clients send."""

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """See :class:`HeadStrategy`: by default, the head's own parameters."""
        return self.head.shapes

    def client_train(
        self, block: ClientBlock, parameters: Tensors, server_round: int
    ) -> list[Trained]:
        """Run the client half for ``local-epochs`` epochs, on stacks of clients of like size."""
        trained: dict[int, Trained] = {}
        for width, clients in alike(block, self.config.batch_size):
            here = torch.from_numpy(clients)
            start = {name: value[here] for name, value in parameters.items()}
            results = self._train_stack(block.select(clients), start, width, server_round)
            trained.update(zip(clients.tolist(), results, strict=True))
        return [trained[client] for client in range(len(block))]

    def _train_stack(
        self, block: ClientBlock, parameters: Tensors, width: int, server_round: int
    ) -> list[Trained]:
        """Step clients that share a batch width; those with fewest minibatches are last."""
        state = self.client_init(parameters, block)
        loss_sum = torch.zeros(len(block), dtype=torch.float64)
        for epoch in range(self.config.local_epochs):
            for batch in minibatches(
                block, width, seed=self.config.seed, server_round=server_round, epoch=epoch
            ):
                stepping = _first(state, batch.active)
                loss, gradients = self.head.loss_and_gradients(
                    stepping["parameters"], batch.x, batch.y, batch.weight
                )
                loss_sum[: batch.active] += loss.double() * batch.weight.sum(1)
                self.client_step(stepping, gradients)
        sent = {name: value.numpy() for name, value in self.client_final(state).items()}
        losses = (loss_sum.numpy() / (self.config.local_epochs * block.sizes)).tolist()
        return [
            Trained({name: value[client] for name, value in sent.items()}, loss)
            for client, loss in enumerate(losses)
        ]

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Run plain local SGD for as many epochs as the federation takes, on own data alone."""
        own = [
            Standardisation.from_moments(Moments.of(block.features, rows)) for rows in block.rows
        ]
        block = block.standardised(own)
        initial = self.head.initial(self.config.head_init, self.config.seed)
        parameters = {
            name: torch.from_numpy(value).expand(len(block), *value.shape)
            for name, value in initial.items()
        }
        for server_round in range(1, self.config.rounds + 1):
            trained = self.client_train(block, parameters, server_round)
            parameters = {
                name: torch.from_numpy(np.stack([client.arrays[name] for client in trained]))
                for name in initial
            }
        return [
            AloneHead({k: v[client].numpy() for k, v in parameters.items()}, standardisation)
            for client, standardisation in enumerate(own)
        ]


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
        self, block: ClientBlock, parameters: Tensors, server_round: int
    ) -> list[Trained]:
        """Compute every client's statistics; there is no loss to report."""
        return [
            Trained(self.client_statistics(block, client), float("nan"))
            for client in range(len(block))
        ]

    def aggregate(self, server_round: int, replies: Iterable[Reply]) -> Arrays | None:
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


def _first(state: State, count: int) -> State:
    """Return views of the first ``count`` clients of every tensor of a state."""
    return {
        group: {name: value[:count] for name, value in tensors.items()}
        for group, tensors in state.items()
    }


def _addressed(
    message_type: str,
    nodes: Sequence[int],
    server_round: int,
    arrays: ArrayRecord,
    config: ConfigRecord,
) -> list[Message]:
    """Return one message per node; all share one content."""
    config["server-round"] = server_round
    content = RecordDict({"arrays": arrays, "config": config})
    return [Message(content, dst_node_id=node, message_type=message_type) for node in nodes]
