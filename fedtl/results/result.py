"""What a run came to: from its own process, or from the folder that it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.federation.round_row import Round
    from fedtl.results.detail import RunDetail
    from fedtl.transfer.head_file import TrainedHead


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run came to, whichever way it ran.

    Attributes:
        config: The run's configuration.
        figures: What ``summary.json`` holds; :func:`fedtl.results.summary.run_summary` says it.
        history: Its rounds.
        warnings: What went wrong and was survived, one sentence each.
        trained: The global head; ``None`` if every client has its own.
        path: Its folder; ``None`` for a run without one.
        detail: What only the process knows that the run ran in; ``None`` if it is taken from a
            folder.
    """

    config: RunConfig
    figures: Mapping[str, Any]
    history: tuple[Round, ...]
    warnings: tuple[str, ...]
    trained: TrainedHead | None
    path: Path | None = None
    detail: RunDetail | None = None
