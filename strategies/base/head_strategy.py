"""The interface of every strategy, on Flower's own: messages to arrays and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.records import array_record, from_record, metric_record, to_record
from fedtl.transfer.heads import Head, settled, summable
from strategies.base.contract import Contract
from strategies.base.halves import Arrays, Reply

# The record of a training message that carries what the server sends beside the head.
SERVER_RECORD = "server"
# The record of a closing message by which a client tells what a head would be without its rows.
LEVERAGE_RECORD = "leverage"
# Told in a closing message: whether training rows are to be scored as well.
ALL_ROWS = "all-rows"


class HeadStrategy(Contract, Strategy):
    """A Flower strategy for heads on frozen features, with its client half: see :class:`Contract`.

    Raises:
        UsageError: The configuration asks of the strategy what it does not have.
    """

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._sent: Arrays = {}
        self._places: dict[int, int] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample this round's clients and address the global head to each.

        The sample belongs to (seed, round). ``grid`` lists its nodes in partition-id order.
        """
        nodes = list(grid.get_node_ids())
        self._places = {node: place for place, node in enumerate(nodes)}
        count = max(1, round(self.config.fraction * len(nodes)))
        if count < len(nodes):
            rng = generator(self.config.seed, "sample-clients", server_round)
            nodes = [nodes[i] for i in np.sort(rng.choice(len(nodes), count, replace=False))]
        self._sent = from_record(arrays)
        content = {"arrays": arrays}
        if self.downlink:
            content[SERVER_RECORD] = to_record(self.to_clients())
        return _addressed(MessageType.TRAIN, nodes, server_round, content, config)

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
                place = self._places[message.metadata.src_node_id]
                yield Reply(examples, summable(self.head, from_record(record), self._sent), place)

        sent = summable(self.head, self._sent, self._sent)
        arrays = self.aggregate(server_round, sent, contents())
        if arrays is None:
            return None, None
        arrays = settled(self.head, arrays)
        examples = sum(count for count, _ in losses)
        loss = sum(count * value for count, value in losses) / max(examples, 1)
        return to_record(arrays), MetricRecord({"train-loss": loss, "num-examples": examples})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the final head to every client."""
        nodes = list(grid.get_node_ids())
        config[ALL_ROWS] = self.scores_all_rows
        return _addressed(MessageType.EVALUATE, nodes, server_round, {"arrays": arrays}, config)

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


def _addressed(
    message_type: str,
    nodes: Sequence[int],
    server_round: int,
    arrays: Mapping[str, ArrayRecord],
    config: ConfigRecord,
) -> list[Message]:
    """Return one message per node; all share one content."""
    config["server-round"] = server_round
    content = RecordDict({**arrays, "config": config})
    return [Message(content, dst_node_id=node, message_type=message_type) for node in nodes]
