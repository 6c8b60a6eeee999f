"""What only a simulation can know: the centralised head, and test scores every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

import strategies
from fedtl.client.alone import LoneHeads, TrainAlone, lone_heads, train_alone
from fedtl.config import RunConfig
from fedtl.determinism import derived_seed
from fedtl.federation.evaluation import ClientTallies, Tally, on_new_data, on_own_data
from fedtl.federation.zero_shot import give_texts
from fedtl.messages.phases import CONFUSION_CLASSES
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.results.centralised import Centralised
from fedtl.transfer.client_block import ClientBlock, ClientData, takes_below
from fedtl.transfer.heads import Head, Tensors, head_of, one_thread
from fedtl.transfer.scoring import Score, score_clients
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Arrays, HeadStrategy, IterativeStrategy

_SHUFFLES = 3


def centralised_reference(
    strategy: HeadStrategy,
    clients: Sequence[ClientData],
    lone_heads: LoneHeads = lone_heads,
    train_alone: TrainAlone = train_alone,
) -> Centralised:
    """Learn from the union of the clients' training rows.

    The reference is solved exactly, as local-only heads are, and does not depend on shuffles. The
    strategy's own training on the same rows is reported beside it, for three shuffles; a closed
    form has none.

    Args:
        strategy: The run's.
        clients: All of them.
        lone_heads: Finds the best head of all rows.
        train_alone: Trains as the strategy does.
    """
    all_rows = strategy.scores_all_rows
    solved = solved_of_all(strategy.config, clients, lone_heads, leave_out=all_rows)
    heads = trained_of_all(strategy, clients, train_alone)
    with one_thread(), torch.inference_mode():
        trained = [_tallies(strategy.head, head, clients) for head in heads]
        made_from = _all_rows(clients) if all_rows else None
        tallies = _tallies(strategy.head, solved, clients, made_from)
    accuracies: list[tuple[float | None, float | None]] = []
    for one in trained:
        own, new = on_own_data(list(one.values())), on_new_data(list(one.values()))
        # Scores that leave out rows are not to be set beside scores that do not.
        accuracies.append(
            (None if all_rows else own.accuracy, None if new is None else new.accuracy)
        )
    return Centralised(tallies, solved.method, accuracies)


def solved_of_all(
    config: RunConfig, clients: Sequence[ClientData], lone_heads: LoneHeads, *, leave_out: bool
) -> AloneHead:
    """Return the best exactly solved head of the union of the clients' training rows.

    Args:
        config: The run's.
        clients: All of them.
        lone_heads: Finds it.
        leave_out: Whether to score each row by the head without that row.
    """
    nobody = np.empty(0, np.int64)
    pooled = replace(
        clients[0],
        partition_id=len(clients),
        train=_all_rows(clients),
        held_out=nobody,
        test=nobody,
        unseen=nobody,
        unrepeated=None,
    )
    with one_thread(), torch.inference_mode():
        (solved,) = lone_heads(config, [pooled], leave_out)
    return solved


def trained_of_all(
    strategy: HeadStrategy, clients: Sequence[ClientData], train_alone: TrainAlone
) -> list[AloneHead]:
    """Return the head of the strategy's own training on all clients' training rows together.

    Args:
        strategy: The run's.
        clients: All of them.
        train_alone: Trains as the strategy does.

    Returns:
        With the run's own seed and, if shuffles matter and no blocks are trained, with two others.
    """
    first = clients[0]
    block = ClientBlock.unstandardised(
        first.features,
        first.labels,
        [_all_rows(clients)],
        [len(clients)],
        first.classes,
        below=first.below,
        crops=first.crops,
    )
    with one_thread(), torch.inference_mode():
        return _trained(strategy, block, train_alone)


def stacks_shuffles(strategy: HeadStrategy) -> bool:
    """Return whether the strategy trains one block of several shuffles, by its keys alone."""
    stacks = isinstance(strategy, IterativeStrategy) and strategy.shuffles_stack
    return stacks and not takes_below(strategy.head)


def _all_rows(clients: Sequence[ClientData]) -> NDArray[np.int64]:
    return np.sort(np.concatenate([client.train for client in clients]))


def _trained(
    strategy: HeadStrategy, block: ClientBlock, train_alone: TrainAlone
) -> list[AloneHead]:
    # Blocks take long to train: once has to do.
    if strategy.outputs != "probability" or takes_below(strategy.head):
        return train_alone(strategy, block)
    seeds = [strategy.config.seed]
    seeds += [derived_seed(seeds[0], "pooled-shuffle", i) >> 1 for i in range(1, _SHUFFLES)]
    if stacks_shuffles(strategy):
        rows, owners = list(block.rows) * len(seeds), list(block.partition_ids) * len(seeds)
        stack = replace(block, rows=rows, partition_ids=owners, seeds=seeds)
        return train_alone(strategy, stack)
    others = [
        strategies.build(strategy.config.replace(seed=seed), strategy.head) for seed in seeds[1:]
    ]
    for other in others:
        give_texts(other, strategy.texts)
    # What trains alike whatever the seed is solved and not shuffled.
    differing = [other for other in others if other.alone_key != strategy.alone_key]
    return [head for each in (strategy, *differing) for head in train_alone(each, block)]


def _tallies(
    form: Head,
    head: AloneHead,
    clients: Sequence[ClientData],
    made_from: NDArray[np.int64] | None = None,
) -> dict[int, ClientTallies]:
    """Return a head's scores, by partition id.

    Args:
        form: The run's.
        head: The head.
        clients: Whose data it is scored on.
        made_from: The rows, rising, of which it says what it would without them, if they are to be
            scored as well.
    """
    first = clients[0]
    rows = [first.test, first.unseen, *(client.held_out for client in clients)]
    keep = bool(head.method) and first.classes <= CONFUSION_CLASSES
    test, unseen, *scores = scores_of_rows(
        head.form or form, head.arrays, head.standardisation, first, rows, keep_logits=keep
    )
    own_rows = [client.held_out for client in clients]
    if made_from is not None and head.left_out is not None:
        own_rows = [np.concatenate([client.left_out, client.held_out]) for client in clients]
        labels, said = first.labels.numpy(), torch.from_numpy(head.left_out)
        for at, client in enumerate(clients):
            place = torch.from_numpy(np.searchsorted(made_from, client.left_out))
            also = Score.of(said[place], labels[client.left_out], keep_logits=keep)
            scores[at] = also + scores[at]

    def tally(score: Score, rows: NDArray[np.int64]) -> Tally:
        groups = None if first.groups is None else first.groups[rows]
        return Tally.of(score, groups, probabilities=head.method != "ridge")

    common = tally(test, first.test), tally(unseen, first.unseen)
    return {
        client.partition_id: ClientTallies(tally(score, rows), *common)
        for client, score, rows in zip(clients, scores, own_rows, strict=True)
    }


@dataclass(frozen=True)
class TestScore:
    """Scores a global head on the test split, in a simulation, after every round."""

    config: RunConfig
    sites: SimulatedSites

    def __call__(self, arrays: Arrays, standardisation: Standardisation | None) -> float:
        """See :class:`fedtl.federation.server.TestScorer`."""
        data = self.sites.site(0).data
        head = head_of(self.config, features=data.features.shape[1], classes=data.classes)
        return scores_of_rows(head, arrays, standardisation, data, [data.test])[0].accuracy


def scores_of_rows(
    head: Head,
    arrays: Arrays,
    standardisation: Standardisation | None,
    data: ClientData,
    rows: Sequence[NDArray[np.int64]],
    *,
    keep_logits: bool = False,
) -> list[Score]:
    """Return one head's scores, example by example, on several sets of rows."""
    block = ClientBlock.unstandardised(
        data.features, data.labels, rows, range(len(rows)), data.classes, below=data.below
    )
    if standardisation is not None:
        block = block.standardised([standardisation])
    parameters: Tensors = {
        name: torch.from_numpy(value.astype(np.float32)).expand(len(rows), *value.shape)
        for name, value in arrays.items()
    }
    with one_thread(), torch.inference_mode():
        return score_clients(head, parameters, block, rows, keep_logits=keep_logits)
