"""What exactly solved heads say of examples that they were solved without.

A head's outputs on the examples that it was solved from are too good. What they would be without an
example, or without all that belongs to one group, such as a patient, follows from the inverse of
the system that was solved: nothing is solved again, and the answer is exact (Cook & Weisberg,
"Residuals and Influence in Regression", 1982, section 2.2 and appendix A.2). Features stay
standardised as they were, and penalties as large.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Groups of like size that are left out at a time.
_BATCH = 256


def ridge_left_out(
    z: Tensor,
    target: Tensor,
    outputs: Tensor,
    inverse: Tensor,
    groups: NDArray[np.int64] | None = None,
    *,
    total: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Return what a ridge head with a free intercept says of rows, each left out of it.

    With h = zᵀ(Z̃ᵀΩZ̃ + λI)⁻¹z + 1/Σω the residual of a row left out is (y - ŷ) / (1 - ωh); those of
    a group are (I - H_gg Ω_g)⁻¹(Y - Ŷ)_g.

    Args:
        z: Rows that it was solved from, or some of them, shape ``(n, d)``, float64, less the
            (weighted) mean of all rows.
        target: Their one-hot labels, shape ``(n, K)``.
        outputs: Ŷ, what the head says of them, shape ``(n, K)``.
        inverse: (Z̃ᵀΩZ̃ + λI)⁻¹ over all rows that it was solved from, shape ``(d, d)``.
        groups: Which rows are left out together, shape ``(n,)``; ``None`` if each by itself. A
            group must be whole among these rows.
        total: Σω over all rows that it was solved from: their number, if they weigh 1.
        weights: ω, shape ``(n,)``; 1 by default.

    Returns:
        Shape ``(n, K)``, float64.
    """
    residual = target - outputs
    return target - left_out_residual(z, z @ inverse, residual, groups, total, weights)


def left_out_residual(
    z: Tensor,
    projected: Tensor,
    residual: Tensor,
    groups: NDArray[np.int64] | None,
    total: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the residuals of rows that a ridge head was solved without, from those with them.

    Args:
        z: See :func:`ridge_left_out`; any coordinates will do that ``projected`` is in as well.
        projected: z (Z̃ᵀΩZ̃ + λI)⁻¹, shape ``(n, d)``.
        residual: Y - Ŷ, shape ``(n, K)``.
        groups: See :func:`ridge_left_out`.
        total: See :func:`ridge_left_out`.
        weights: See :func:`ridge_left_out`.

    Returns:
        Shape ``(n, K)``, float64.
    """
    omega = torch.ones(len(z), dtype=torch.float64) if weights is None else weights
    if groups is None or len(np.unique(groups)) == len(groups):
        pull = torch.einsum("nd,nd->n", projected, z) + 1 / total
        return residual / (1 - omega * pull)[:, None]
    without = torch.empty_like(residual)
    for rows in units(groups):
        pull = projected[rows] @ z[rows].T + 1 / total
        system = torch.eye(len(rows), dtype=torch.float64) - pull * omega[rows]
        without[rows] = torch.linalg.solve(system, residual[rows])
    return without


def lda_left_out(
    z: Tensor,
    labels: Tensor,
    inverse: Tensor,
    centres: Tensor,
    counts: Tensor,
    groups: NDArray[np.int64] | None = None,
) -> Tensor:
    """Return what discriminant analysis says of rows, each left out of it.

    A row leaves the mean and the share of its class and the scatter S within classes, which with
    what leaves, U, becomes S - UDUᵀ: the inverse is updated by Woodbury's identity. What is the
    same for all classes is left out of the outputs.

    Args:
        z: Rows that it was solved from, or some of them, shape ``(n, d)``, float64.
        labels: Their classes, shape ``(n,)``.
        inverse: (S + λI)⁻¹ over all rows that it was solved from, shape ``(d, d)``.
        centres: Mean of each class over all rows, shape ``(K, d)``; any for a class without rows.
        counts: Rows of each class among all, shape ``(K,)``, float64.
        groups: See :func:`ridge_left_out`.

    Returns:
        Shape ``(n, K)``, float64. A class without other rows gets the others' mean less 1.
    """
    projected = z @ inverse
    with_centres = projected @ centres.T
    # The inverse's inner products of class means.
    of_means = centres @ inverse @ centres.T
    found = torch.empty(len(z), len(counts), dtype=torch.float64)
    for rows, touched in _batches(labels.numpy(), groups):
        own = (labels[rows][:, None, :] == touched[:, :, None]).double()
        before, left = counts[touched], counts[touched] - own.sum(2)
        share = torch.where(left > 0, left, 1.0)[:, :, None]
        # Inner products of the rows z, of the means m of their classes, and of those without them:
        # m' = (n m - sum of z) / n'.
        zz = projected[rows] @ z[rows].mT
        zm = with_centres[rows]
        mm = of_means[touched]
        classes = touched[:, None, :]

        def at_touched(inner: Tensor, classes: Tensor = classes) -> Tensor:
            return inner.gather(2, classes.expand(-1, inner.shape[1], -1))

        new_z = (before[:, :, None] * at_touched(zm).mT - own @ zz) / share
        new_m = (before[:, :, None] * mm - own @ zm) / share
        new_new = (at_touched(new_m) * before[:, None, :] - new_z @ own.mT) / share.mT
        # S' = S - Σ zzᵀ + Σ n m mᵀ - Σ n' m' m'ᵀ over the rows and the classes that they are of.
        weight = torch.cat([-torch.ones(zz.shape[:2]).double(), before, -left], 1)[:, :, None]
        u_z = torch.cat([zz, at_touched(zm).mT, new_z], 1)
        u_m = torch.cat([zm, mm, new_m], 1)
        u_new = torch.cat([new_z.mT, at_touched(new_m).mT, new_new], 1)
        u_u = torch.cat([u_z, at_touched(u_m), u_new], 2)
        place = classes.expand(-1, u_m.shape[1], -1)
        u_m = u_m.scatter(2, place, u_new)
        system = torch.eye(u_u.shape[1], dtype=torch.float64) + weight * u_u
        update = torch.linalg.solve(system, weight * torch.cat([u_z, u_m], 2))
        update_z, update_m = update[:, :, : zz.shape[2]], update[:, :, zz.shape[2] :]
        m_z = zm.scatter(2, classes.expand(-1, zm.shape[1], -1), new_z.mT) - update_z.mT @ u_m
        squares = of_means.diagonal().expand(len(rows), -1)
        squares = squares.scatter(1, touched, new_new.diagonal(dim1=1, dim2=2))
        squares = squares - (u_m * update_m).sum(1)
        remain = counts.expand(len(rows), -1).scatter(1, touched, left)
        number = remain.sum(1)[:, None]
        score = number[:, :, None] * (m_z - squares[:, None, :] / 2)
        score = score + (remain.clamp_min(1.0) / number).log()[:, None, :]
        seen = (remain > 0)[:, None, :]
        others = (score * seen).sum(2, keepdim=True) / seen.sum(2, keepdim=True) - 1
        found[rows] = torch.where(seen, score, others)
    return found


def _batches(
    labels: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield groups of as many rows and classes each: rows ``(B, m)``, their classes ``(B, t)``."""
    if groups is None:
        for rows in torch.split(torch.arange(len(labels)), _BATCH):
            yield rows[:, None], torch.from_numpy(labels[rows.numpy()])[:, None]
        return
    alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
    for rows in units(groups):
        touched = torch.from_numpy(np.unique(labels[rows.numpy()]))
        alike.setdefault((len(rows), len(touched)), []).append((rows, touched))
    for batch in alike.values():
        for start in range(0, len(batch), _BATCH):
            part = batch[start : start + _BATCH]
            yield torch.stack([rows for rows, _ in part]), torch.stack([own for _, own in part])


def units(groups: NDArray[np.int64]) -> Iterator[Tensor]:
    """Yield the places of each group's rows, in rising order."""
    order = np.argsort(groups, kind="stable")
    bounds = np.flatnonzero(np.diff(groups[order])) + 1
    for rows in np.split(order, bounds):
        yield torch.from_numpy(rows)
