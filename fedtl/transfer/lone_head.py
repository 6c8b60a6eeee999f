"""The best head that one party's rows give by themselves: what a federation is held against.

One reference for every strategy: ridge regression, linear discriminant analysis and softmax
regression, each solved exactly, and of these the one that does best over folds of the same rows. It
does not wobble with shuffles, steps or rounds, and a strategy cannot look good by a poor one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.folds import folds_of
from fedtl.transfer.left_out import lda_left_out, ridge_left_out
from fedtl.transfer.softmax_regression import Whitened

Method = Literal["ridge", "lda", "softmax"]
METHODS: tuple[Method, ...] = ("ridge", "lda", "softmax")

# Penalties per feature, on standardised features: Fed3R's, and two for softmax regression, between
# and beyond which accuracy is flat for 60 to 22,000 examples of 512 to 992 features.
_RIDGE_PENALTY = 0.5
_CANDIDATES: tuple[tuple[Method, float], ...] = (
    ("ridge", _RIDGE_PENALTY),
    ("lda", _RIDGE_PENALTY),
    ("softmax", 0.1),
    ("softmax", 0.02),
)
# Largest component of the whitened gradient: to tell which head is better, and to be called solved.
_ENOUGH, _EXACT = 1e-2, 1e-7
# The prior of a class without examples; it is never the likeliest.
_UNSEEN_SHARE = 1e-9
_FOLDS = 5
# Of as many rows, folds are solved for only while they may change the choice, and until so many
# rows are scored that what is left between candidates is within half a point. With 1000 the pooled
# reference of rendered hospitals deviated by .9 over seeds, where it deviates by .3 now.
_MANY_ROWS, _ENOUGH_SCORED = 2000, 4000
# Softmax regression has no closed form to leave a row out of: these many parts of the rows are left
# out in turn, and a solution without one of them is looked for near the one with all. Of many rows
# a larger part is not missed.
_PARTS, _PARTS_OF_MANY = 20, 10
# Rows of which squares are in memory at a time.
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class LoneHead:
    """A linear head on features as they are.

    Attributes:
        weight: Shape ``(K, d)``, float64.
        bias: Shape ``(K,)``, float64.
        method: What it was solved by.
        left_out: What it says of the rows it was solved from, each left out of it, or each group;
            for softmax regression, each of some parts. Shape ``(n, K)``, float64; ``None`` if it
            was not asked for or there is but one row or group.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    method: Method
    left_out: NDArray[np.float64] | None = None


def best_lone_head(
    features: Tensor,
    labels: Tensor,
    classes: int,
    groups: NDArray[np.int64] | None,
    rng: np.random.Generator,
    *,
    leave_out: bool = False,
) -> LoneHead:
    """Return the best of the exactly solved heads of some rows.

    Everything is invariant under rotations of the standardised features, so fewer rows than
    features are solved in as many coordinates as there are rows.

    Args:
        features: Shape ``(n, d)``.
        labels: Shape ``(n,)``, int64.
        classes: K.
        groups: Which rows belong together and share a fold, shape ``(n,)``; ``None`` for none.
        rng: Deals rows to folds.
        leave_out: Whether to say what it makes of each row without that row.
    """
    # Pooled rows may be most of what memory holds, so that their one copy is changed in place.
    x = features.to(torch.float64, copy=True)
    mean = x.mean(0)
    x -= mean
    squares = torch.stack([part.square().sum(0) for part in torch.split(x, _CHUNK)]).sum(0)
    variance = squares / len(x)
    varies = variance > 1e-12 * (variance + mean.square()).clamp_min(1e-300)
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    x *= scale
    width = max(1, int(varies.sum()))
    back: Tensor | None = None
    if len(x) < x.shape[1]:
        x, back = _reduced(x)
    best: tuple[Method, float] = ("ridge", _RIDGE_PENALTY)
    fold = folds_of(labels.numpy(), groups, rng, _FOLDS)
    if fold is not None:
        best = _best(x, labels, classes, width, fold)
    weight, bias = _solved(x, labels, classes, width, [best], _EXACT)[best]
    left_out: Tensor | None = None
    if leave_out and len(x if groups is None else np.unique(groups)) > 1:
        method, penalty = best[0], best[1] * width
        if method == "softmax":
            count = _PARTS if len(x) < _MANY_ROWS else _PARTS_OF_MANY
            parts = folds_of(labels.numpy(), groups, rng, count)
            assert parts is not None
            examples = Whitened.of(x, labels, classes)
            del x
            near = examples.solve(penalty, tolerance=_ENOUGH)[1]
            left_out = examples.left_out(penalty, near, parts, _ENOUGH)
        else:
            moments, outputs = _Moments.of(x, labels, classes), x @ weight.T + bias
            x -= moments.mean
            left_out = moments.left_out(x, labels, groups, method, penalty, outputs)
    if back is not None:
        weight = weight @ back.T
    weight = weight * scale
    return LoneHead(
        weight.numpy(),
        (bias - weight @ mean).numpy(),
        best[0],
        None if left_out is None else left_out.numpy(),
    )


def _best(
    x: Tensor, labels: Tensor, classes: int, width: int, fold: NDArray[np.int64]
) -> tuple[Method, float]:
    """Return the candidate that is right most often over folds; of equals, the first.

    Of many rows, those that fall clearly behind on some folds are not solved for the others, and
    when enough rows are scored the others are not looked at.
    """
    right: dict[tuple[Method, float], Tensor] = {
        candidate: torch.empty(0, dtype=torch.bool) for candidate in _CANDIDATES
    }
    for number in range(_FOLDS):
        train = torch.from_numpy(np.flatnonzero(fold != number))
        score = torch.from_numpy(np.flatnonzero(fold == number))
        solved = _solved(x[train], labels[train], classes, width, list(right), _ENOUGH)
        for candidate, (weight, bias) in solved.items():
            hit = (x[score] @ weight.T + bias).argmax(1) == labels[score]
            right[candidate] = torch.cat([right[candidate], hit])
        lead = max(right.values(), key=lambda hits: int(hits.sum()))
        if len(fold) >= _MANY_ROWS:
            right = {one: hits for one, hits in right.items() if not _behind(hits, lead)}
            if len(right) == 1 or len(lead) >= _ENOUGH_SCORED:
                break
    return max(right, key=lambda candidate: int(right[candidate].sum()))


def _behind(hits: Tensor, lead: Tensor) -> bool:
    """Return whether a candidate is behind by two standard errors of the paired difference."""
    apart = int((hits != lead).sum())
    return bool(int(lead.sum()) - int(hits.sum()) > 2 * apart**0.5)


def _solved(
    x: Tensor,
    labels: Tensor,
    classes: int,
    width: int,
    candidates: Sequence[tuple[Method, float]],
    tolerance: float,
) -> dict[tuple[Method, float], tuple[Tensor, Tensor]]:
    """Return weight and bias of each candidate, a method and its penalty per feature."""
    moments = _Moments.of(x, labels, classes)
    found: dict[tuple[Method, float], tuple[Tensor, Tensor]] = {}
    examples: Whitened | None = None
    near: Tensor | None = None
    for method, per_feature in candidates:
        penalty = per_feature * width
        if method == "softmax":
            examples = examples or Whitened.of(x, labels, classes)
            found[method, per_feature], near = examples.solve(penalty, near, tolerance)
        else:
            solve = moments.ridge if method == "ridge" else moments.lda
            found[method, per_feature] = solve(penalty)
    return found


def _reduced(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates of fewer rows than features, and the map back from them.

    Returns:
        Coordinates ``(n, r)`` with the inner products of ``x``, and an orthonormal basis ``(d, r)``
        of its rows.
    """
    values, vectors = torch.linalg.eigh(x @ x.T)
    kept = values > 1e-10 * values[-1].clamp_min(1e-300)
    length = values[kept].sqrt()
    coordinates = vectors[:, kept] * length
    return coordinates, x.T @ (vectors[:, kept] / length)


@dataclass(frozen=True)
class _Moments:
    """What ridge regression and discriminant analysis are solved from.

    Attributes:
        count: Rows, n.
        mean: Shape ``(r,)``.
        covariance: Shape ``(r, r)``.
        share: Of each class, shape ``(K,)``.
        cross: Covariances with the one-hot labels, shape ``(r, K)``.
    """

    count: int
    mean: Tensor
    covariance: Tensor
    share: Tensor
    cross: Tensor

    @classmethod
    def of(cls, x: Tensor, labels: Tensor, classes: int) -> _Moments:
        """Return those of standardised rows, or most of them: the mean is small."""
        onehot = torch.nn.functional.one_hot(labels, classes).double()
        mean, share = x.mean(0), onehot.mean(0)
        return cls(
            count=len(x),
            mean=mean,
            covariance=x.T @ x / len(x) - torch.outer(mean, mean),
            share=share,
            cross=x.T @ onehot / len(x) - torch.outer(mean, share),
        )

    def ridge(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the heads that Fed3R solves for."""
        weight = self._solve(self.covariance, penalty, self.cross)
        return weight, self.share - weight @ self.mean

    def lda(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the heads that FedCGS solves for."""
        centres, within = self._classes()
        weight = self._solve(within, penalty, centres)
        prior = torch.where(self.share > 0, self.share, _UNSEEN_SHARE).log()
        bias = prior - (weight.T * centres).sum(0) / 2
        return weight, bias - weight @ self.mean

    def left_out(
        self,
        z: Tensor,
        labels: Tensor,
        groups: NDArray[np.int64] | None,
        method: Method,
        penalty: float,
        outputs: Tensor,
    ) -> Tensor:
        """Return what the head of a method says of its rows, less their mean, each left out."""
        unit = torch.eye(z.shape[1], dtype=torch.float64)
        if method == "ridge":
            inverse = self._solve(self.covariance, penalty, unit) / self.count
            target = torch.nn.functional.one_hot(labels, len(self.share)).double()
            return ridge_left_out(z, target, outputs, inverse, groups, total=self.count)
        centres, within = self._classes()
        inverse = self._solve(within, penalty, unit) / self.count
        counts = (self.share * self.count).round()
        return lda_left_out(z, labels, inverse, centres.T, counts, groups)

    def _classes(self) -> tuple[Tensor, Tensor]:
        """Return class means less the mean ``(r, K)``, and the covariance about them."""
        centres = self.cross / torch.where(self.share > 0, self.share, 1.0)
        return centres, self.covariance - (centres * self.share) @ centres.T

    def _solve(self, system: Tensor, penalty: float, right: Tensor) -> Tensor:
        system = system.clone()
        system.diagonal().add_(penalty / self.count)
        solution: Tensor = torch.cholesky_solve(right, torch.linalg.cholesky(system)).T
        return solution
