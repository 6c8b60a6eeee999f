"""Parts of the data that nobody trains on, drawn by class; whole groups if there are any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.data.groups import Rows, units_of


def held_out_split(
    labels: NDArray[np.int64],
    rows: Rows,
    fraction: float,
    rng: np.random.Generator,
    groups: NDArray[np.str_] | NDArray[np.int64] | None = None,
) -> tuple[Rows, Rows]:
    """Return a client's training rows and its held-out rows, each sorted.

    See :func:`drawn_share`; a group counts to its most frequent class. A client with a single
    group, or a single row, holds out nothing.

    Args:
        labels: Label of every row of the data set, shape ``(N,)``.
        rows: The client's rows, shape ``(n,)``.
        fraction: Share of its rows, or groups, to hold out, from 0 to 1.
        rng: Source of the choice.
        groups: Group of every row of the data set, shape ``(N,)``: rows of one group stay
            together, and at least one is held out if the share amounts to a row.
    """
    units = units_of(rows, labels, groups)
    fewest = int(groups is not None and round(fraction * len(rows)) > 0)
    held = drawn_share(units.labels, fraction, rng, fewest=fewest)
    return units.rows_of(np.flatnonzero(~held)), units.rows_of(np.flatnonzero(held))


def drawn_share(
    strata: NDArray[np.int64], fraction: float, rng: np.random.Generator, *, fewest: int = 0
) -> NDArray[np.bool_]:
    """Return which units to hold out: ``round(fraction * u)`` of u, but never all.

    A systematic sample of the units in order of their strata (Madow & Madow, "On the Theory of
    Systematic Sampling, I", Annals of Mathematical Statistics 15, 1944): every unit is as likely to
    be drawn, and of every stratum comes its share, rounded up or down. A rule that rounds the same
    way each time would never draw from a class with one or two units, the hardest: accuracies would
    be too good, a patient's above all, who is often the only one of a class at a site.

    Args:
        strata: Stratum of each unit, such as its class, shape ``(u,)``.
        fraction: Share to hold out, from 0 to 1.
        rng: Source of the choice.
        fewest: Units to draw at least, if there are more.
    """
    held = np.zeros(len(strata), dtype=np.bool_)
    wanted = min(max(round(fraction * len(strata)), fewest), len(strata) - 1)
    if wanted > 0:
        # In random order within a stratum, and of strata.
        number = np.unique(strata, return_inverse=True)[1]
        order = rng.permutation(len(strata))
        order = order[np.argsort(rng.permutation(number.max() + 1)[number[order]], kind="stable")]
        place = (np.arange(wanted) + rng.random()) * (len(strata) / wanted)
        held[order[np.minimum(place.astype(np.int64), len(strata) - 1)]] = True
    return held
