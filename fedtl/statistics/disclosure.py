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

import hashlib
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator
from fedtl.statistics.calibration import (
    CALIBRATION_BINS,
    TEMPERATURES,
    Calibration,
    Floats,
    calibration_of,
    falling_logits,
    logsumexp,
    temperature_gaps,
    temperature_losses,
)
from fedtl.statistics.score_counts import BINS, ScoreCounts, bins_of, log_odds, told_classes
from fedtl.transfer.scoring import Score

SMALLEST_CELL = 5
_LOSS_DIGITS = 2
_UNTOLD, _RARE = -1, -1

_Value = TypeVar("_Value", bound=np.generic)


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
            smallest: Counts below this, but for 0, do not leave; 0 for all do.
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
    blocks = np.array_split(np.argsort(_first_odds(aligned), kind="stable"), len(truth) // smallest)
    means = np.repeat([_mean(aligned[block]) for block in blocks], list(map(len, blocks)), 0)
    losses = temperature_losses(means, np.zeros(len(truth), np.int64))
    return Calibration(len(truth), losses, temperature_gaps(*_sure(score, smallest)))


def _sheltered(score: Score, smallest: int, *, binned: bool, probabilities: bool) -> Disclosed:
    classes, lots = score.classes, _lots(score)
    sizes = score.examples_per_class
    examples = np.where(sizes >= smallest, sizes, 0)
    confusion = np.zeros((classes, classes), np.int64)
    rare, is_rare = np.zeros(BINS), examples[score.truth] == 0
    told = _Told(score, smallest)
    for label in np.flatnonzero(examples).tolist():
        called = score.predicted[score.truth == label]
        # The right ones first, so that blocks of wrong ones hold as few of them as can be.
        order = np.argsort(np.where(called == label, -1, called), kind="stable")
        blocks = np.array_split(order, len(called) // smallest)
        drawn = _drawn(called, blocks, lots)
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
                drawn = bins_of(_drawn(own, blocks, lots))
                np.add.at(cells[at, side], drawn, [len(block) for block in blocks])
                told.add_bins(label, side, drawn, blocks)
        if classes > 2 and is_rare.sum() >= smallest:
            order = np.argsort(-own_odds[is_rare], kind="stable")
            blocks = np.array_split(order, len(order) // smallest)
            drawn = bins_of(_drawn(own_odds[is_rare], blocks, lots))
            np.add.at(rare, drawn, [len(block) for block in blocks])
            told.add_bins(_RARE, 1, drawn, blocks)
        if probabilities and score.examples >= smallest:
            calibration = calibration_of(*_sure(score, smallest))
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
    """Return how many of each class are right, and binned scores, with estimates where untold.

    As many are right as is told of all, and so in the classes of which that is not told: in each of
    these the same share; what these cannot make up for, the others do. Those that are wrong are
    called other classes in proportion to these.

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
    """Return cells with what is told of untold classes together, given to each by its size."""
    if not rare.any():
        return cells
    added = cells.copy()
    added[:, 1] += np.outer(untold / untold.sum(), rare)
    return added


class _Told:
    """What tables tell of how many are wrong, beside how many that are in all.

    Classes too small for a block are one: the last.

    Attributes:
        low: At least so many of each class are wrong, shape ``(K + 1,)``.
        high: At most so many.
        called: At least so many are wrongly called each class, shape ``(K,)``.
    """

    def __init__(self, score: Score, smallest: int) -> None:
        sizes = score.examples_per_class
        wrong = sizes - score.correct_per_class
        rare = sizes < smallest
        self._smallest, self._classes = smallest, len(sizes)
        self._sizes, self._wrong = (
            np.append(np.where(rare, 0, one), one[rare].sum()) for one in (sizes, wrong)
        )
        self.low, self.high = np.zeros_like(self._sizes), self._sizes.copy()
        self.called = np.zeros(len(sizes), np.int64)

    def add(
        self,
        label: int,
        right: NDArray[np.bool_],
        wrong: NDArray[np.bool_],
        blocks: list[NDArray[np.int64]],
    ) -> None:
        """Take in that of every block, in order, somebody is surely right, or surely wrong."""
        sizes = np.array([len(block) for block in blocks])
        if wrong.any():
            low = sizes[int(wrong.argmax()) + 1 :].sum() + 1
            self.low[label] = max(self.low[label], low)
        if right.any():
            last = len(right) - 1 - int(right[::-1].argmax())
            high = sizes.sum() - sizes[:last].sum() - 1
            self.high[label] = min(self.high[label], high)

    def add_bins(
        self, label: int, side: int, drawn: NDArray[np.int64], blocks: list[NDArray[np.int64]]
    ) -> None:
        """Take in the bins of a class's log-odds, of the class or (side 0) of all others.

        Below the middle a class is less likely than an even share, and not the one called; where
        its probability is above a half, it is.
        """
        classes = self._classes
        unlikely = drawn < BINS // 2
        likely = drawn > int(bins_of(np.array([np.log(max(classes - 1, 1))]))[0])
        if classes == 2:
            likely = ~unlikely
        if side:
            self.add(label, likely, unlikely, blocks)
        elif classes == 2:
            # Of the first class, if that has a block.
            self.add(0 if self._sizes[0] else _RARE, unlikely, likely, blocks)
        elif likely.any():
            sizes = [len(block) for block in blocks]
            self.called[label] = sum(sizes[int(likely.argmax()) + 1 :]) + 1

    @property
    def too_much(self) -> bool:
        """Whether only one value is left for how many of some class are right, or are wrong."""
        if (self._sizes > 0).sum() == 1:
            return False  # The number of right ones in all tells it anyway.
        total = self._wrong.sum()
        low = np.maximum(self.low, total - (self.high.sum() - self.high))
        high = np.minimum(self.high, total - (self.low.sum() - self.low))
        small = _small(self._wrong, self._smallest)
        small |= _small(self._sizes - self._wrong, self._smallest)
        pinned = (low == high) & small
        return bool(pinned.any() or (total and self.called.sum() >= total))


def _small(counts: NDArray[np.int64], smallest: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (counts > 0) & (counts < smallest)
    return found


def _lots(score: Score) -> np.random.Generator:
    """Return what draws, from what this site alone knows."""
    content = np.float64(score.loss_sum).tobytes() + score.truth.tobytes()
    digest = hashlib.sha256(content + score.predicted.tobytes()).digest()
    return generator(int.from_bytes(digest, "little"), "stand-ins")


def _drawn(
    values: NDArray[_Value], blocks: list[NDArray[np.int64]], lots: np.random.Generator
) -> NDArray[_Value]:
    """Return the value of one member of each block."""
    return values[[int(block[lots.integers(len(block))]) for block in blocks]]


def _sure(score: Score, smallest: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return n rows of logits, the highest first, that blocks' means give, and which are right.

    The wrong ones come first, so that a single block holds both, those of either that are least
    sure; it is right or wrong by lot.
    """
    assert score.logits is not None
    falling = falling_logits(score.logits)
    odds = _first_odds(falling)
    surest_wrong_first = np.lexsort((np.where(score.right, odds, -odds), score.right))
    blocks = np.array_split(surest_wrong_first, score.examples // smallest)
    drawn = _drawn(score.right, blocks, _lots(score))
    rows, right = [], []
    for side in (False, True):
        own = [block for block, one in zip(blocks, drawn, strict=True) if one == side]
        if own:
            rows.append(_between([_mean(falling[block]) for block in own], list(map(len, own))))
            right.append(np.full(len(rows[-1]), side))
    return np.vstack(rows), np.concatenate(right)


def _mean(rows: Floats) -> Floats:
    """Return the mean of a block's logits, the first of which is moved to the mean log-odds.

    The log-odds of a mean would say more than the mean of log-odds, which are concave.
    """
    mean: Floats = rows.mean(0)
    mean[0] += _first_odds(rows).mean() - _first_odds(mean[None])[0]
    return mean


def _between(means: list[Floats], sizes: list[int]) -> Floats:
    """Return as many rows as blocks have members, on the lines through the blocks' means."""
    ends = np.cumsum(sizes)
    if len(means) == 1:
        return np.repeat(means, sizes, 0)
    centres = ends - (np.array(sizes) + 1) / 2
    ranks = np.arange(ends[-1])
    before = np.clip(np.searchsorted(centres, ranks) - 1, 0, len(means) - 2)
    along = ((ranks - centres[before]) / np.diff(centres)[before])[:, None]
    rows = np.array(means)
    line: Floats = rows[before] * (1 - along) + rows[before + 1] * along
    return line


def _first_odds(rows: Floats) -> Floats:
    """Return the log-odds of the first of each row's logits, shape ``(n,)``."""
    odds: Floats = rows[:, 0] - logsumexp(rows[:, 1:])
    return odds
