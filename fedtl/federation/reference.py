"""What a simulation alone can know: the head of all data in one place, and scores every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.federation.alone import TrainAlone, train_alone
from fedtl.federation.client import head_for
from fedtl.federation.evaluation import ClientTallies, Tally
from fedtl.federation.simulated_sites import SimulatedSites
from fedtl.transfer.client_block import ClientBlock, ClientData
from fedtl.transfer.heads import Head, Tensors, one_thread
from fedtl.transfer.scoring import score_clients
from fedtl.transfer.standardisation import Standardisation
from strategies.base import Arrays, HeadStrategy


def centralised_scores(
    strategy: HeadStrategy,
    clients: Sequence[ClientData],
    train_alone: TrainAlone = train_alone,
) -> dict[int, ClientTallies]:
    """Train on the union of the clients' training rows, as the strategy would one client alone.

    Returns:
        The head's scores on every client's held-out rows, on the test split and on the unseen
        site, by partition id.
    """
    first = clients[0]
    width = first.features.shape[1]
    pooled = ClientBlock(
        features=first.features,
        labels=first.labels,
        rows=[np.sort(np.concatenate([client.train for client in clients]))],
        partition_ids=[len(clients)],
        classes=first.classes,
        mean=torch.zeros(1, width),
        scale=torch.ones(1, width),
    )
    with one_thread(), torch.inference_mode():
        head = train_alone(strategy, pooled)[0]
        test, unseen, *held_out = score_rows(
            strategy.head,
            head.arrays,
            head.standardisation,
            first,
            [first.test, first.unseen, *(client.held_out for client in clients)],
        )
    return {
        client.partition_id: ClientTallies(own, test, unseen)
        for client, own in zip(clients, held_out, strict=True)
    }


@dataclass(frozen=True)
class TestScore:
    """Scores a global head on the data's own test split, in a simulation, after every round."""

    config: RunConfig
    sites: SimulatedSites

    def __call__(self, arrays: Arrays, standardisation: Standardisation | None) -> float:
        """See :class:`fedtl.federation.server.TestScorer`."""
        data = self.sites.site(0).data
        head = head_for(self.config, features=data.features.shape[1], classes=data.classes)
        return score_rows(head, arrays, standardisation, data, [data.test])[0].accuracy


def score_rows(
    head: Head,
    arrays: Arrays,
    standardisation: Standardisation | None,
    data: ClientData,
    rows: Sequence[NDArray[np.int64]],
) -> list[Tally]:
    """Return the scores of one head on several sets of rows of a feature matrix."""
    block = ClientBlock(
        features=data.features,
        labels=data.labels,
        rows=rows,
        partition_ids=range(len(rows)),
        classes=data.classes,
        mean=torch.empty(0),
        scale=torch.empty(0),
    ).standardised([standardisation or Standardisation.identity(data.features.shape[1])])
    parameters: Tensors = {
        name: torch.from_numpy(value.astype(np.float32)).expand(len(rows), *value.shape)
        for name, value in arrays.items()
    }
    with one_thread(), torch.inference_mode():
        return [Tally.of(score) for score in score_clients(head, parameters, block, rows)]
