"""Scoring heads on rows of a feature matrix, many clients at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors
from fedtl.transfer.minibatches import scoring_batches
from fedtl.transfer.prior_correction import Adjustment


@dataclass(frozen=True)
class Score:
    """How a head did on n examples of K classes.

    Attributes:
        loss_sum: Summed cross-entropy in nats.
        truth: Labels, shape ``(n,)``.
        predicted: Predicted labels, shape ``(n,)``.
        classes: K.
        logits: Shape ``(n, K)``, float32; ``None`` if they were not asked for.
    """

    loss_sum: float
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    classes: int
    logits: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, logits: Tensor, truth: NDArray[np.int64], *, keep_logits: bool) -> Score:
        """Return the score of logits ``(n, K)``."""
        log_p = logits.log_softmax(1)
        loss = -log_p.gather(1, torch.from_numpy(truth)[:, None]).double().sum()
        kept = logits.float().numpy() if keep_logits else None
        return cls(float(loss), truth, log_p.argmax(1).numpy(), logits.shape[1], kept)

    def __add__(self, other: Score) -> Score:
        """Return the score of this one's examples and then the other's."""
        logits = None
        if self.logits is not None and other.logits is not None:
            logits = np.concatenate([self.logits, other.logits])
        return Score(
            self.loss_sum + other.loss_sum,
            np.concatenate([self.truth, other.truth]),
            np.concatenate([self.predicted, other.predicted]),
            self.classes,
            logits,
        )

    @property
    def examples(self) -> int:
        """Number of examples scored, n."""
        return len(self.truth)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN if nothing was scored."""
        return self.loss_sum / self.examples if self.examples else float("nan")

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each example is right, shape ``(n,)``."""
        right: NDArray[np.bool_] = self.truth == self.predicted
        return right

    @property
    def accuracy(self) -> float:
        """Fraction of examples that are right; NaN if nothing was scored."""
        return float(self.right.mean()) if self.examples else float("nan")

    @property
    def examples_per_class(self) -> NDArray[np.int64]:
        """Examples of each class, shape ``(K,)``."""
        return np.bincount(self.truth, minlength=self.classes)

    @property
    def correct_per_class(self) -> NDArray[np.int64]:
        """Examples of each class that are right, shape ``(K,)``."""
        return np.bincount(self.truth[self.truth == self.predicted], minlength=self.classes)

    @property
    def balanced_accuracy(self) -> float:
        """See :func:`balanced_accuracy`."""
        return balanced_accuracy(self.correct_per_class, self.examples_per_class)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts, shape ``(K, K)``; rows are the true class."""
        pair = self.truth * self.classes + self.predicted
        return np.bincount(pair, minlength=self.classes**2).reshape(self.classes, self.classes)


def balanced_accuracy(
    correct: NDArray[np.int64] | NDArray[np.float64], examples: NDArray[np.int64]
) -> float:
    """Return mean recall over the classes that occur; both arguments have shape ``(K,)``.

    The same as scikit-learn's ``balanced_accuracy_score``; NaN if no class occurs.
    """
    occurs = examples > 0
    return float((correct[occurs] / examples[occurs]).mean()) if occurs.any() else float("nan")


def score_clients(
    head: Head,
    parameters: Tensors,
    block: ClientBlock,
    rows: Sequence[NDArray[np.int64]],
    adjustment: Adjustment | None = None,
    *,
    keep_logits: bool = False,
) -> list[Score]:
    """Score client c's head, ``parameters[…][c]``, on ``rows[c]`` of the block's features.

    Args:
        head: The head's form.
        parameters: Each ``(C, *shape)``.
        block: The C clients; its own rows are not used, its standardisation is.
        rows: Row numbers per client; may be empty.
        adjustment: What becomes of the logits; nothing by default.
        keep_logits: Whether scores hold the logits: 4 n K bytes.
    """
    block = block.seen_by(head)
    losses = np.zeros(len(rows))
    predicted = [np.empty(len(client_rows), np.int64) for client_rows in rows]
    width = block.classes if keep_logits else 0
    kept = [np.empty((len(client_rows), width), np.float32) for client_rows in rows]
    done = np.zeros(len(rows), np.int64)
    for clients, index, counts in scoring_batches(rows, block.stack):
        here = torch.from_numpy(clients)
        batch = {name: value[here] for name, value in parameters.items()}
        logits = head.logits(batch, block.take(index, here))
        if adjustment is not None:
            logits = adjustment.of(here, logits)
        log_p = logits.log_softmax(2)
        target = block.labels[index].unsqueeze(2)
        loss = -log_p.gather(2, target).squeeze(2).double() * counts
        losses[clients] += loss.sum(1).numpy()
        best = log_p.argmax(2).numpy()
        for line, (client, count) in enumerate(zip(clients, counts.sum(1).tolist(), strict=True)):
            place = slice(done[client], done[client] + count)
            predicted[client][place] = best[line, :count]
            if keep_logits:
                kept[client][place] = logits[line, :count].numpy()
        done[clients] += counts.sum(1).numpy()
    labels = block.labels.numpy()
    return [
        Score(float(loss), labels[client_rows], guess, block.classes, out if keep_logits else None)
        for loss, client_rows, guess, out in zip(losses, rows, predicted, kept, strict=True)
    ]
