"""A loss for a client whose mix of classes is not everybody's.

A client that trains on cross-entropy alone learns its own frequencies of classes with the rest: it
unlearns classes that it has few of or none, and pulls what all share towards those that it has. The
mean of such heads is worse than a head trained on everybody's examples by much. With log π_k - log
π, for a client's frequencies and everybody's, added to its logits while it trains, the loss is that
of its own posterior, and what it learns below is the posterior under everybody's mix: Menon et al.,
"Long-Tail Learning via Logit Adjustment", ICLR 2021, equation 10, with everybody's mix in place of
a uniform one. In federations: Zhang et al., "Federated Learning with Label Distribution Skew via
Logits Calibration", ICML 2022.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.prior_correction import log_prior_ratio


def adjusted(block: ClientBlock, everyone: NDArray[np.int64]) -> ClientBlock:
    """Return clients that train a head with blocks for everybody's mix of classes.

    Args:
        block: The clients, with the labels that they learn.
        everyone: All clients' examples of each class, shape ``(K,)``.
    """
    labels = block.labels.numpy()
    own = (np.bincount(labels[rows], minlength=block.classes) for rows in block.rows)
    offset = np.stack([log_prior_ratio(counts, everyone) for counts in own])
    return replace(block, offset=torch.from_numpy(offset.astype(np.float32)))
