"""The result of a comparison, from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtl.errors import UsageError
from fedtl.json_file import read_json

if TYPE_CHECKING:
    import pandas as pd

# Of many runs, every failure is named.
_MOST_SUMMARY_BYTES = 2**28


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonResult:
    """The result of a comparison.

    Attributes:
        path: Its folder.
        figures: What ``summary.json`` holds.
    """

    path: Path
    figures: Mapping[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> ComparisonResult:
        """Return the result in the folder of a finished comparison.

        Raises:
            UsageError: It is not such a folder.
            FedtlError: A file is damaged.
        """
        path = Path(folder).expanduser()
        if not (path / "comparison.csv").is_file() or not (path / "summary.json").is_file():
            raise UsageError(
                f"{folder} is not the folder of a finished comparison: it has no comparison.csv "
                "and summary.json."
            )
        return cls(path, read_json(path / "summary.json", _MOST_SUMMARY_BYTES))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """How strategies compare: a row each at every point of what varies, the best first.

        ``accuracy`` is the mean over seeds on what global heads are ranked by, with ``sd`` and its
        95 % interval (``low``, ``high``); ``behind_best`` says whether a test finds it behind the
        best. ``own_data`` is the mean accuracy on clients' held-out rows of the best reading of its
        head, and ``local_only`` that of local-only heads there. A strategy without a
        global head has no ``accuracy`` and comes last.
        """
        import pandas as pd

        rows = []
        for point in self.figures["points"]:
            own = {one["strategy"]: one for one in point["own_data"]["strategies"]}
            alone = point["own_data"].get("local_only", {}).get("accuracy", {}).get("mean")
            ranked = {one["strategy"]: one for one in point["ranking"]["strategies"]}
            for name in [*ranked, *(name for name in own if name not in ranked)]:
                told = ranked.get(name)
                interval = (told or {}).get("interval") or {}
                readings = [
                    reading["accuracy"]["mean"]
                    for key, reading in own.get(name, {}).items()
                    if key != "strategy" and reading["accuracy"]["mean"] is not None
                ]
                rows.append(
                    {
                        **point["point"],
                        "strategy": name,
                        "accuracy": told and told["accuracy"]["mean"],
                        "sd": told and told["accuracy"]["sd"],
                        "low": interval.get("low"),
                        "high": interval.get("high"),
                        "behind_best": told and told["significantly_behind_best"],
                        "own_data": max(readings, default=None),
                        "local_only": alone,
                    }
                )
        return pd.DataFrame(rows)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every run that finished: the table ``comparison.csv``, a row each."""
        import pandas as pd

        return pd.read_csv(self.path / "comparison.csv")

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """Every round of every run: the table ``rounds.csv``."""
        import pandas as pd

        return pd.read_csv(self.path / "rounds.csv")

    def report(self, path: str | Path) -> Path:
        """Write the comparison's page to a file; return that file.

        Raises:
            UsageError: The comparison left no page.
            UnwrittenError: The file cannot be written.
        """
        from fedtl.whole_file import write_atomically

        page, target = self.path / "comparison.html", Path(path).expanduser()
        if not page.is_file():
            raise UsageError(f"{self.path} has no comparison.html, so there is no page.")
        write_atomically(target, page.read_bytes())
        return target

    def __repr__(self) -> str:
        return f"ComparisonResult({len(self.runs)} runs, {self.path})"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        table = self.summary.to_html(index=False, float_format="{:.3f}".format, na_rep="–")
        return f"<p>{escape(str(self.path))}</p>{table}"
