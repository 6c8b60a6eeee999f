"""The ways of learning that a run sets side by side, and what each is called and looks like."""

from __future__ import annotations

from typing import NamedTuple

from fedtl.report.theme import CENTRALISED, CORRECTED, FEDERATED, LOCAL, PERSONAL
from fedtl.results.detail import RunDetail


class Way(NamedTuple):
    """A way of learning.

    Attributes:
        label: What it is called, in lower case.
        colour: Its colour in plots.
        marker: Its marker in plots.
    """

    label: str
    colour: str
    marker: str

    @property
    def title(self) -> str:
        """What it is called at the head of a column."""
        return self.label.capitalize()

    @property
    def style(self) -> str:
        """Its CSS class."""
        return self.label.replace("-", "_")


_PERSONAL = Way("personal", PERSONAL, "^")
_CORRECTED = Way("corrected", CORRECTED, "v")


def ways_of(result: RunDetail) -> dict[str, Way]:
    """Return the ways of a run, by their keys in its summary.

    If there is no global head, what federation gave are clients' own heads, and called so. If
    ``prior-correction`` makes the corrected head the personal one, it is not told twice.
    """
    summary = result.summary
    ways = {"local_only": Way("local-only", LOCAL, "s")}
    ways["federated"] = Way("federated", FEDERATED, "o") if summary["global_head"] else _PERSONAL
    if summary["corrected"] is not None and not result.config.get("prior-correction"):
        ways["corrected"] = _CORRECTED
    if summary["personal"] is not None:
        ways["personal"] = _PERSONAL
    return ways | {"centralised": Way("centralised", CENTRALISED, "D")}
