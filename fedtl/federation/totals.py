"""A round's total, checked before it is kept, and contributions that stand out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from fedtl.messages.census import SiteCard
from strategies.base import Arrays
from strategies.base.plausible import norm, scale_of

# How many times the norm of the head that was sent the next one may have.
_LIMIT = 1e6
STANDS_OUT = 1e3
"""A contribution that is more than so many times the median gives a warning."""

IMPOSSIBLE = 1e6
"""If a contribution is more than so many times the median, the others are asked again."""

# Share of all training examples at which one client is told to be nearly alone.
_DOMINATES = 0.9
_NAMED = 3


def total_fault(total: Arrays, sent: Arrays, *, scaled: bool = True) -> str:
    """Return why a head must not be kept, as a clause; empty if it may be kept.

    Args:
        total: The result of a round.
        sent: The head that clients were sent.
        scaled: Whether both are for features of the same scale, so that their norms can be
            compared.
    """
    size = norm(total)
    if not math.isfinite(size):
        return "the resulting head is not finite"
    if scaled and size > _LIMIT * (scale := scale_of(sent)):
        return f"the resulting head has norm {size:.3g}, but the head sent had {scale:.3g}"
    return ""


def largest_named(sizes: Mapping[int, float]) -> str:
    """Return a clause that names the largest contributions; empty if there are none.

    Args:
        sizes: Of each, by partition id.
    """
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:_NAMED]
    named = ", ".join(f"client {client} ({size:.3g})" for client, size in largest)
    return named and f"; the largest contributions came from {named}"


def standing_out(sizes: Mapping[int, float], times: float) -> dict[int, float]:
    """Return clients whose contribution is unusually large, and how many times the median.

    Args:
        sizes: Of each per example, by partition id. Of two, neither can stand out from their
            middle.
        times: More than how many times the median.
    """
    if not sizes:
        return {}
    found = {}
    usual = median(sizes.values())
    for client, size in sizes.items():
        if usual > 0 and size > times * usual:
            found[client] = size / usual
    return found


def dominating(cards: Mapping[int, SiteCard]) -> str:
    """Return a sentence if one of several clients reports nearly all examples; else nothing."""
    everyone = sum(card.examples for card in cards.values())
    for client, card in cards.items():
        if len(cards) > 2 and card.examples > _DOMINATES * everyone:
            return (
                f"Client {client} reports {card.examples:,} of all {everyone:,} training examples, "
                "so averages weighted by examples are nearly its own; ask whether that is correct."
            )
    return ""
