"""What a real site tells of a head's scores: tables in which nobody stands alone.

How many examples are right, and how many of two heads' are right together, is the result of a run
and leaves as it is. Everything finer (per class, the confusion matrix, binned scores, calibration)
is counted on stand-ins: a class's examples are put in order of what is counted and cut into blocks
of at least five, and one member of each, drawn by lot, stands for its whole block. No count between
0 and 5 is left, and as every member is as likely to be drawn, the expectation of every count, and
of AUROC, is what it was. That is microaggregation by individual ranking (Defays & Nanopoulos,
"Panels of Enterprises and Confidentiality", Statistics Canada 1993; Hundepool et al., Statistical
Disclosure Control, Wiley 2012, section 3.4) with a random member instead of the mean, which would
favour the majority of a block, as unbiased random rounding does with counts (chapter 5 there).

The lot is drawn by a hash of the scores themselves, which nobody else has: it comes out the same
each time, so that asking again tells nothing new (Thompson, Broadfoot & Elazar, "Methodology for
the Automatic Confidentialisation of Statistical Outputs", UNECE 2013), and the run's seed does not
give it away. What is not counted but summed (losses and confidences by temperature) is summed over
the means of blocks.

If the tables and the number of right ones together left only one value for a small count, none of
these tables leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.calibration import (
    CALIBRATION_BINS,
    TEMPERATURES,
    Calibration,
    Floats,
    calibration_of,
    falling_logits,
    temperature_gaps,
    temperature_losses,
)
from fedtl.statistics.residual_disclosure import RARE, Bounds
from fedtl.statistics.score_counts import BINS, ScoreCounts, bins_of, log_odds, told_classes
from fedtl.statistics.stand_ins import calibration_rows, drawn_of, first_odds, lots_of, mean_logits
from fedtl.transfer.scoring import Score

SMALLEST_CELL = 5
_LOSS_DIGITS = 2
_UNTOLD = -1


@dataclass(frozen=True, eq=False)
class Disclosed:
    """What leaves of a head's score on n examples of K classes, beside how many are right.

    Attributes:
        loss: Mean cross-entropy in nats; to two decimals from a real site.
        correct: Examples that are right, per class, shape ``(K,)``; -1 for a class of which a real
            site does not tell that.
        confusion: Shape ``(K, K)``; rows are the true class, and empty for such classes.
        counts: Binned scores; ``None`` if they were not asked for.
        rare: Of the examples of all such classes together, by the log-odds of their own, shape
            ``(BINS,)``.
    """

    loss: float
    correct: NDArray[np.int64]
    confusion: NDArray[np.int64]
    counts: ScoreCounts | None
    rare: Floats

    @classmethod
    def of(cls, score: Score, smallest: int, *, binned: bool, probabilities: bool) -> Disclosed:
        """Return what leaves.

        Args:
            score: With its logits, if they are to be binned.
            smallest: Counts below this, except 0, do not leave; with 0, all counts leave.
            binned: Whether binned scores are asked for.
            probabilities: Whether the softmax of the logits means probabilities.
        """
        if smallest:
            return _sheltered(score, smallest, binned=binned, probabilities=probabilities)
        counts = None
        if binned:
            assert score.logits is not None
            counts = ScoreCounts.of(score.logits, score.truth, probabilities=probabilities)
        rare = np.zeros(BINS)
        return cls(score.loss, score.correct_per_class, score.confusion, counts, rare)


def disclosed_calibration(score: Score, smallest: int) -> Calibration:
    """Return how sure a head should be, from all examples, or at a real site from means of blocks.

    Args:
        score: With its logits.
        smallest: Of how many examples a block consists at least; 0 for all examples by themselves.
    """
    logits, truth = score.logits, score.truth
    assert logits is not None
    if not smallest:
        return Calibration.of(logits, truth)
    if len(truth) < smallest:
        return Calibration(0, np.zeros(len(TEMPERATURES)), np.zeros((len(TEMPERATURES), 15)))
    exact = logits.astype(np.float64)
    own = exact[np.arange(len(truth)), truth][:, None]
    others = np.delete(exact.ravel(), np.arange(len(truth)) * score.classes + truth)
    aligned = np.hstack([own, falling_logits(others.reshape(len(truth), -1))])
    blocks = np.array_split(np.argsort(first_odds(aligned), kind="stable"), len(truth) // smallest)
    means = np.repeat(mean_logits(aligned, blocks), list(map(len, blocks)), 0)
    losses = temperature_losses(means, np.zeros(len(truth), np.int64))
    return Calibration(len(truth), losses, temperature_gaps(*calibration_rows(score, smallest)))


def _sheltered(score: Score, smallest: int, *, binned: bool, probabilities: bool) -> Disclosed:
    classes, lots = score.classes, lots_of(score)
    sizes = score.examples_per_class
    examples = np.where(sizes >= smallest, sizes, 0)
    confusion = np.zeros((classes, classes), np.int64)
    rare, is_rare = np.zeros(BINS), examples[score.truth] == 0
    told = Bounds(score, smallest)
    for label in np.flatnonzero(examples).tolist():
        called = score.predicted[score.truth == label]
        # The right ones first, so that blocks of wrong ones hold as few of them as can be.
        order = np.argsort(np.where(called == label, -1, called), kind="stable")
        blocks = np.array_split(order, len(called) // smallest)
        drawn = drawn_of(called, blocks, lots)
        told.add(label, drawn == label, drawn != label, blocks)
        for one, block in zip(drawn, blocks, strict=True):
            confusion[label, one] += len(block)
    cells = np.zeros((len(told_classes(classes)), 2, BINS))
    calibration = None
    if binned:
        assert score.logits is not None
        own_odds = np.zeros(score.examples)
        for at, (label, odds) in enumerate(log_odds(score.logits)):
            own_odds = np.where(score.truth == label, odds, own_odds)
            for side in (0, 1):
                own = odds[(score.truth == label) == side]
                if len(own) < smallest:
                    continue
                # The surest of what is right first.
                order = np.argsort(-own if side else own, kind="stable")
                blocks = np.array_split(order, len(own) // smallest)
                drawn = bins_of(drawn_of(own, blocks, lots))
                np.add.at(cells[at, side], drawn, [len(block) for block in blocks])
                told.add_bins(label, side, drawn, blocks)
        if classes > 2 and is_rare.sum() >= smallest:
            order = np.argsort(-own_odds[is_rare], kind="stable")
            blocks = np.array_split(order, len(order) // smallest)
            drawn = bins_of(drawn_of(own_odds[is_rare], blocks, lots))
            np.add.at(rare, drawn, [len(block) for block in blocks])
            told.add_bins(RARE, 1, drawn, blocks)
        if probabilities and score.examples >= smallest:
            calibration = calibration_of(*calibration_rows(score, smallest))
        elif probabilities:
            calibration = np.zeros((3, CALIBRATION_BINS))
    if told.too_much:
        examples, confusion, cells, rare = examples * 0, confusion * 0, cells * 0, rare * 0
        calibration = None if calibration is None else calibration * 0
    counts = None
    if binned:
        spread = _with_rare(cells, rare, np.where(examples, 0, sizes))
        predicted = confusion.sum(0).astype(float)
        counts = replace(ScoreCounts.of_cells(spread, predicted, calibration), cells=cells)
    correct = np.where(examples, confusion.diagonal(), _UNTOLD)
    return Disclosed(round(score.loss, _LOSS_DIGITS), correct, confusion, counts, rare)


def completed(
    correct: NDArray[np.int64],
    examples: NDArray[np.int64],
    right: int,
    counts: ScoreCounts | None,
    rare: Floats,
) -> tuple[Floats, ScoreCounts | None]:
    """Return how many of each class are right, and binned scores; untold numbers are estimated.

    The examples that are right in all, less those of the told classes, are shared out over the
    untold classes, the same share of each; if these cannot take them up, the told classes do. Wrong
    examples are called other classes in proportion to the size of these.

    Args:
        correct: As a site tells it, -1 for untold, shape ``(K,)``.
        examples: Of each class, shape ``(K,)``.
        right: How many are right in all.
        counts: Binned scores, if there are.
        rare: See :class:`Disclosed`.
    """
    untold = np.where(correct == _UNTOLD, examples, 0)
    whole = np.maximum(correct, 0).astype(float)
    if not untold.any():
        return whole, counts
    left = right - whole.sum()
    change = min(max(left, 0.0), float(untold.sum())) * untold / untold.sum()
    told = examples - untold
    if told.any():
        evened = whole + (left - change.sum()) * told / told.sum()
        change += np.clip(evened, 0.0, told) - whole
    if counts is not None:
        others = examples[None] * (1.0 - np.eye(len(examples)))
        called = others / np.maximum(others.sum(1, keepdims=True), 1)
        counts = replace(
            counts,
            cells=_with_rare(counts.cells, rare, untold),
            predicted=np.maximum(counts.predicted + change + (untold - change) @ called, 0.0),
        )
    return whole + change, counts


def _with_rare(cells: Floats, rare: Floats, untold: NDArray[np.int64]) -> Floats:
    """Return cells with the joint bins of untold classes, given to each by its size."""
    if not rare.any():
        return cells
    added = cells.copy()
    added[:, 1] += np.outer(untold / untold.sum(), rare)
    return added
