"""Asking clients for sums, and once more without those whose numbers cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fedtl.federation.account import Account
from fedtl.federation.exchange import Exchange
from fedtl.federation.totals import IMPOSSIBLE, standing_out

_T = TypeVar("_T")


def asked(account: Account, exchange: Exchange, ask: Callable[[], _T]) -> _T:
    """Ask clients; if some answers are far out of proportion, ask the others again.

    For sums from which no contribution can be removed, and clients that remember nothing.

    Args:
        account: What is asked twice counts twice there.
        exchange: Carries the questions.
        ask: Asks them, and returns what the answers come to.
    """
    account.sizes.clear()
    found = ask()
    if odd := standing_out(account.sizes, IMPOSSIBLE):
        account.drop(exchange.phase)
        exchange.left_out = {
            client: f"its numbers are {times:.3g} times the median of all clients', so the "
            "others were asked again without it"
            for client, times in odd.items()
        }
        found = ask()
        exchange.left_out = {}
    return found
