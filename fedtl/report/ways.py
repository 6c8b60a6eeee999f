"""The ways of learning that a run compares, with their names and colours."""

from __future__ import annotations

from typing import NamedTuple

from fedtl.report.theme import (
    CENTRALISED,
    CORRECTED,
    FEDERATED,
    LOCAL,
    PERSONAL,
    ZERO_SHOT,
)
from fedtl.results.detail import RunDetail


class Way(NamedTuple):
    """A way of learning.

    Attributes:
        label: Its name, in lower case.
        colour: Its colour in plots.
        marker: Its marker in plots.
    """

    label: str
    colour: str
    marker: str

    @property
    def title(self) -> str:
        """Its name as a column heading."""
        return self.label.capitalize()

    @property
    def style(self) -> str:
        """Its CSS class."""
        return self.label.replace("-", "_")


_PERSONAL = Way("personal", PERSONAL, "^")
_CORRECTED = Way("corrected", CORRECTED, "v")
_ZERO_SHOT = Way("zero-shot", ZERO_SHOT, "P")


def ways_of(result: RunDetail) -> dict[str, Way]:
    """Return the ways of a run, by their keys in its summary.

    Without a global head the federated way is clients' own heads, and has that name. If
    ``prior-correction`` makes the corrected head the personal one, it is listed once.
    """
    summary = result.summary
    ways = {"local_only": Way("local-only", LOCAL, "s")}
    if summary.get("zero_shot") is not None:
        ways["zero_shot"] = _ZERO_SHOT
    ways["federated"] = Way("federated", FEDERATED, "o") if summary["global_head"] else _PERSONAL
    if summary["corrected"] is not None and not result.config.get("prior-correction"):
        ways["corrected"] = _CORRECTED
    if summary["personal"] is not None:
        ways["personal"] = _PERSONAL
    return ways | {"centralised": Way("centralised", CENTRALISED, "D")}
