"""What cannot be in a client's arrays, whoever sent them: a server looks before it adds.

Each function returns a clause that says what is wrong, or an empty text.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.base.halves import Arrays

Floats = NDArray[np.floating]

# Features are float32: no square of one is larger.
_LARGEST_SQUARE = float(np.finfo(np.float32).max) ** 2
# What rounding takes from a sum of products, relative to its terms; a lie that is smaller tells
# nothing.
_ROUNDING = 1e-6
# A client that has learnt what it can moves a head by next to nothing; any other would stand out
# beside it. So less than this share of the head's scale counts as that much.
_STEP = 1e-3


@dataclass(frozen=True)
class Told:
    """What is known of a client whose arrays are looked at.

    Attributes:
        examples: Its training examples.
        label_counts: Its examples of each class, held-out ones included, shape ``(K,)``.
        head: The head that it was sent.
        server: What else it was sent: the arrays that ``downlink`` names.
    """

    examples: int
    label_counts: Sequence[int]
    head: Arrays
    server: Arrays


def norm(arrays: Mapping[str, Floats]) -> float:
    """Return the Euclidean norm of all arrays together; numbers whose squares overflow have one."""
    square = sum(float(np.vdot(value, value)) for value in arrays.values())
    if math.isfinite(square):
        return math.sqrt(square)
    largest = max(float(np.abs(value).max()) for value in arrays.values() if value.size)
    if not math.isfinite(largest):
        return largest
    parts = [value.astype(np.float64) / largest for value in arrays.values()]
    return largest * math.sqrt(sum(float(np.vdot(part, part)) for part in parts))


def scale_of(head: Mapping[str, Floats]) -> float:
    """Return the reference norm of a head: its own, but at least that of a head of ones."""
    return max(norm(head), math.sqrt(sum(value.size for value in head.values())), 1.0)


def step_size(changes: Mapping[str, Floats], head: Mapping[str, Floats]) -> float:
    """Return how far a client moves the head that it was sent, to be held beside other clients'."""
    return max(norm(changes), _STEP * scale_of(head))


def too_large(arrays: Arrays, head: Arrays, limit: float) -> str:
    """Look at the norms of arrays: of those that are a head's together, of others one by one.

    Args:
        arrays: As they were sent.
        head: As the client was sent it.
        limit: How many times the head's norm, or that of a head of ones, they may have.
    """
    own = {name: value for name, value in arrays.items() if name in head}
    rest = [{name: value} for name, value in arrays.items() if name not in head]
    scale = scale_of(head)
    for part in (own, *rest):
        if (size := norm(part)) > limit * scale:
            return (
                f"the norm of {' and '.join(part)} is {size:.3g}, more than reply-limit = "
                f"{limit:g} times {scale:.3g}, the reference norm of the head that was sent"
            )
    return ""


def too_large_loss(loss: float, classes: int, limit: float) -> str:
    """Look at a mean loss in nats, beside log K, the loss of a head that knows nothing."""
    nothing = math.log(max(classes, 3))
    if not loss <= limit * nothing:
        return (
            f"its loss is {loss:.3g} nats an example, more than reply-limit = {limit:g} times "
            f"{nothing:.3g}, the loss of a head that knows nothing"
        )
    return "" if loss >= -_ROUNDING else "its loss is less than zero"


def wrong_counts(counts: Floats, told: Told, noise: float = 0.0) -> str:
    """Look at training examples of each class, in any shape of which the last axis is classes."""
    of_class = counts.reshape(-1, counts.shape[-1]).astype(np.float64)
    slack = _ROUNDING * np.maximum(of_class, 1) + noise
    if (of_class < -slack).any() or (np.abs(of_class - np.rint(of_class)) > slack).any():
        return "counts of classes are not whole numbers"
    total = np.rint(of_class).sum(0)
    if total.sum() != told.examples:
        return f"counts of classes add up to {total.sum():.15g}, not to {told.examples:,} examples"
    if over := np.flatnonzero(total > np.asarray(told.label_counts, np.float64)).tolist():
        return (
            f"class {over[0]} has {total[over[0]]:.15g} examples, but the client first reported "
            f"{told.label_counts[over[0]]:,}"
        )
    return ""


def wrong_class_sums(sums: Floats, counts: Floats) -> str:
    """Look at sums of features: those of no examples are zero.

    Args:
        sums: Shape ``(…, K, d)``.
        counts: Shape ``(…, K)``.
    """
    if sums[counts == 0].any():
        return "a class without examples has a sum of features"
    bound = counts[..., None].astype(np.float64) * math.sqrt(_LARGEST_SQUARE)
    return "" if (np.abs(sums) <= bound).all() else "a sum of features is larger than possible"


def wrong_moments(total: Floats, squares: Floats, examples: float, noise: float = 0.0) -> str:
    """Look at sums and sums of squares, each ``(d,)``: Σx² is at least (Σx)²/n.

    Args:
        total: Sums of features.
        squares: Sums of their squares.
        examples: n; the sum of weights where examples have some.
        noise: What rounding may have added to any of the numbers.
    """
    if (squares < -noise).any() or (squares > examples * _LARGEST_SQUARE).any():
        return "a sum of squares is not one of as many features"
    most = np.sqrt(np.maximum(examples * (squares + noise), 0.0))
    if (np.abs(total) * (1 - _ROUNDING) > most + np.finfo(np.float32).tiny).any():
        return "a feature's sum of squares is less than its sum squared over the examples"
    return ""


def wrong_gram(
    gram: Floats,
    sums: Floats,
    told: Told,
    *,
    weights: Floats | None = None,
    noise: float = 0.0,
) -> str:
    """Look at a client's ZᵀDZ and ZᵀDY, with a column of ones last in Z and D of classes' weights.

    The Gram matrix is positive semi-definite and its rank is at most the number of examples: a
    pivoted Cholesky decomposition of as many steps leaves nothing (Higham, "Accuracy and Stability
    of Numerical Algorithms", second edition, section 10.3).

    Args:
        gram: Shape ``(d+1, d+1)``, symmetric.
        sums: Shape ``(d+1, K)``.
        told: What is known of the client.
        weights: D's value for each class, shape ``(K,)``; by default 1.
        noise: What rounding may have added to any of the numbers.
    """
    weight = np.ones(sums.shape[1]) if weights is None else weights
    if sums[-1][weight == 0].any():
        return "it has examples of a class that no client has"
    counts = np.divide(sums[-1], weight, out=np.zeros_like(weight), where=weight != 0)
    if fault := wrong_counts(counts, told, noise):
        return fault
    squares, mass = gram.diagonal(), float(sums[-1].sum())
    if fault := wrong_moments(gram[-1], squares, mass, noise):
        return fault
    size = np.sqrt(np.maximum(squares, 0.0) + noise)
    slack = _ROUNDING * size * size[-1] + noise + np.finfo(np.float32).tiny
    if (np.abs(gram[-1] - sums.sum(1)) > slack).any():
        return "sums of features differ between its Gram matrix and its classes"
    most = np.outer(size, np.sqrt(np.maximum(sums[-1], 0.0) + noise))
    if (np.abs(sums) > most + slack[:, None]).any():
        return "a class's sum of features is larger than its Gram matrix allows"
    if _semidefinite(gram, size, told.examples):
        return ""
    return f"its Gram matrix is not that of {told.examples:,} examples' features"


def _semidefinite(gram: Floats, size: Floats, rank: int) -> bool:
    """Return whether a matrix is a Gram matrix of at most ``rank`` vectors, except for rounding.

    Args:
        gram: Shape ``(d, d)``.
        size: The vectors' entries have these roots of summed squares, shape ``(d,)``.
        rank: The most vectors.
    """
    # Few processes of clients need it, and each would take a tenth of a second to import it.
    from scipy.linalg.lapack import dpstrf

    inverse = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    correlation, rest = _scratch(len(gram))
    np.multiply(gram, inverse, out=correlation)
    np.multiply(correlation, inverse[:, None], out=correlation)
    factor, pivots, found, _ = dpstrf(correlation, tol=_ROUNDING, lower=1)
    if found > rank:
        return False
    lower = np.empty((len(gram), found))
    lower[pivots - 1] = np.tril(factor[:, :found])
    np.matmul(lower, lower.T, out=rest)
    np.subtract(correlation, rest, out=rest)
    return bool(max(rest.max(), -rest.min()) <= 10 * _ROUNDING)


_KEPT = threading.local()


def _scratch(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two matrices to write into: the pages of new ones cost more than the sums."""
    if getattr(_KEPT, "width", 0) != width:
        _KEPT.width = width
        _KEPT.matrices = (np.empty((width, width)), np.empty((width, width)))
    kept: tuple[NDArray[np.float64], NDArray[np.float64]] = _KEPT.matrices
    return kept
