"""``--track tensorboard``: the rounds of a run as TensorBoard's scalars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedtl.observers.figures import final_figures, round_figures
from fedtl.observers.observer import Began, Observer
from fedtl.observers.tracking import needs

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from fedtl.config import RunConfig
    from fedtl.federation.round_row import Round
    from fedtl.results.result import RunResult


class TensorBoard(Observer):
    """Writes event files to ``tensorboard/`` in the run folder.

    Show them with ``tensorboard --logdir runs``, which shows the runs of a folder side by side.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        with needs("tensorboard"):
            import tensorboard  # noqa: F401
        self._writer: SummaryWriter | None = None

    def began(self, run: Began) -> None:
        """Begin an event file; a resumed run replaces what came after its checkpoint."""
        from torch.utils.tensorboard import SummaryWriter

        folder = (run.folder or Path()) / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=len(run.rounds) + 1)

    def round(self, finished: Round, rounds: int) -> None:
        """Write a point of every curve."""
        assert self._writer is not None
        for name, value in round_figures(finished).items():
            self._writer.add_scalar(name, value, finished.round)

    def ended(self, result: RunResult) -> None:
        """Write the result of the run, with the strategy and its options."""
        assert self._writer is not None
        keys = {"strategy": result.config.strategy, **dict(result.config.options)}
        self._writer.add_hparams(keys, final_figures(result), run_name="result")
        self._writer.close()


OBSERVER = TensorBoard
