"""How sure a head says it is, how often it is right, and the temperature that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CALIBRATION_BINS = 15
TEMPERATURES = np.geomspace(0.01, 100.0, 61)
_CALIBRATION_EDGES = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
_NUMBERS_AT_ONCE = 2**14


def falling_logits(logits: NDArray[np.floating]) -> Floats:
    """Return each example's logits from the highest to the lowest."""
    return -np.sort(-np.asarray(logits, np.float64), axis=1)


def calibration_of(falling: Floats, right: NDArray[np.bool_]) -> Floats:
    """Return examples, those right, and summed confidence, by bin of confidence.

    Args:
        falling: Each example's logits, the highest first, shape ``(n, K)``.
        right: Whether each is right, shape ``(n,)``.

    Returns:
        Shape ``(3, CALIBRATION_BINS)``.
    """
    binned: Floats = _binned(falling, right, np.ones(1))[:, 0]
    return binned


def _binned(falling: Floats, right: NDArray[np.bool_], temperatures: Floats) -> Floats:
    """Return :func:`calibration_of` for each temperature, shape ``(3, T, CALIBRATION_BINS)``."""
    scaled = falling / temperatures[:, None, None]
    confidence = np.exp(scaled[..., 0] - logsumexp(scaled))
    place = np.searchsorted(_CALIBRATION_EDGES, confidence)
    place += CALIBRATION_BINS * np.arange(len(temperatures))[:, None]
    everyone = np.broadcast_to(right.astype(float), confidence.shape)
    bins = CALIBRATION_BINS * len(temperatures)
    weights = (None, everyone.ravel(), confidence.ravel())
    binned = [np.bincount(place.ravel(), one, minlength=bins) for one in weights]
    return np.array(binned, np.float64).reshape(3, len(temperatures), CALIBRATION_BINS)


def _together(logits: NDArray[np.floating]) -> list[Floats]:
    """Return ``TEMPERATURES`` in parts, each for as many numbers at once as is quickest."""
    # Of few examples, many: each operation costs as much as its numbers.
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, logits.size))
    return np.split(TEMPERATURES, range(at_once, len(TEMPERATURES), at_once))


def calibration_error(calibration: Floats) -> float:
    """Return Σ |right - confidence| / n of :func:`calibration_of`'s bins; NaN if they are empty."""
    count, right, confidence = calibration
    examples = float(count.sum())
    return float(np.abs(right - confidence).sum()) / examples if examples else float("nan")


def temperature_losses(
    logits: NDArray[np.floating], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the summed cross-entropy of softmax(logits / T) for each of ``TEMPERATURES``.

    Args:
        logits: Shape ``(n, K)``.
        truth: Labels, shape ``(n,)``.
    """
    exact, own = np.asarray(logits, np.float64), np.arange(len(truth))
    losses = []
    for some in _together(exact):
        each = logsumexp(exact / some[:, None, None]) - exact[own, truth] / some[:, None]
        losses.append(each.sum(1))
    return np.concatenate(losses)


def temperature_gaps(falling: Floats, right: NDArray[np.bool_]) -> Floats:
    """Return Σ (right - confidence) by bin of confidence, for each of ``TEMPERATURES``.

    Args:
        falling: Each example's logits, the highest first, shape ``(n, K)``.
        right: Whether each is right, shape ``(n,)``.

    Returns:
        Shape ``(T, CALIBRATION_BINS)``.
    """
    each = [_binned(falling, right, some) for some in _together(falling)]
    return np.concatenate([told[1] - told[2] for told in each])


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a client tells of how sure a head should be; empty if it has too few examples.

    Attributes:
        examples: How many examples that are.
        losses: As :func:`temperature_losses` has them, shape ``(T,)``.
        gaps: As :func:`temperature_gaps` has them, shape ``(T, CALIBRATION_BINS)``.
    """

    examples: int
    losses: Floats
    gaps: Floats

    @classmethod
    def of(cls, logits: NDArray[np.floating], truth: NDArray[np.int64]) -> Calibration:
        """Return it for logits ``(n, K)`` of examples with labels ``(n,)``."""
        gaps = temperature_gaps(falling_logits(logits), logits.argmax(1) == truth)
        return cls(len(truth), temperature_losses(logits, truth), gaps)


def best_temperature(told: Sequence[Calibration]) -> float | None:
    """Return the T at which clients' summed losses are least; ``None`` if no client sends any.

    A head's accuracy does not depend on T; its confidence does.
    """
    best = _best(told)
    return None if best is None else float(TEMPERATURES[best])


def cross_fitted_error(told: Sequence[Calibration]) -> float | None:
    """Return the calibration error that the fitted temperature has on examples it has not seen.

    Each client's outputs are divided by the temperature that the *other* clients' examples make
    best, so that no example is judged by a temperature that was fitted to it; Stone,
    "Cross-Validatory Choice and Assessment of Statistical Predictions", Journal of the Royal
    Statistical Society B 36, 1974. ``None`` with fewer than two clients that tell anything.
    """
    known = [one for one in told if _usable(one)]
    if len(known) < 2:
        return None
    gaps = np.zeros(CALIBRATION_BINS)
    for at, one in enumerate(known):
        others = _best([*known[:at], *known[at + 1 :]])
        gaps += one.gaps[others]
    return float(np.abs(gaps).sum() / sum(one.examples for one in known))


def _usable(one: Calibration) -> bool:
    return bool(one.examples and np.isfinite(one.losses).all())


def _best(told: Sequence[Calibration]) -> int | None:
    losses = [one.losses for one in told if _usable(one)]
    return int(np.argmin(np.sum(losses, axis=0))) if losses else None


def logsumexp(values: Floats) -> Floats:
    """Return log Σ exp of each row of ``(..., K)``."""
    top = values.max(-1)
    total: Floats = top + np.log(np.exp(values - top[..., None]).sum(-1))
    return total
