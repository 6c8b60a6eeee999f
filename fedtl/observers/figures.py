"""Which figures of a run a tracker keeps, and what they are called."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedtl.federation.round_row import Round
    from fedtl.results.result import RunResult

_LEFT_OUT = ("round", "failed")


def round_figures(finished: Round) -> dict[str, float]:
    """Return a round's figures by name; those that do not exist are absent."""
    told = {
        name: float(value)
        for name, value in asdict(finished).items()
        if name not in _LEFT_OUT and value is not None
    }
    return {**told, "failed_clients": float(len(finished.failed))}


def final_figures(result: RunResult) -> dict[str, float]:
    """Return the accuracy of each way of learning on own and on new data, by name."""
    found = {}
    for data, told in (("own_data", result.figures), ("new_data", result.figures["on_new_data"])):
        for way in ("local_only", "federated", "personal", "corrected", "zero_shot", "centralised"):
            figures = (told or {}).get(way)
            if figures is not None and figures["accuracy"] is not None:
                found[f"{data}.{way}.accuracy"] = float(figures["accuracy"])
    return found
