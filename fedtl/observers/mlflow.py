"""``--track mlflow``: a run, its keys and its rounds in an MLflow store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedtl.observers.figures import final_figures, round_figures
from fedtl.observers.observer import Began, Observer
from fedtl.observers.tracking import needs

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from fedtl.config import RunConfig
    from fedtl.federation.round_row import Round
    from fedtl.results.result import RunResult

_EXPERIMENT = "fedtl"
# The run folder's file that says which entry is the run's.
_KEPT = "mlflow-run.txt"


class MLflow(Observer):
    """Writes to the store that ``MLFLOW_TRACKING_URI`` names, or else to ``mlflow.db`` here.

    The experiment is ``MLFLOW_EXPERIMENT_NAME``, or else ``fedtl``. A resumed run goes on with its
    own entry.

    Raises:
        UsageError: MLflow is not installed.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        with needs("mlflow"):
            from mlflow import MlflowClient
        self._client: MlflowClient = MlflowClient()
        self._run = ""

    def began(self, run: Began) -> None:
        """Make the run's entry, or find that of a resumed run."""
        kept = None if run.folder is None else run.folder / _KEPT
        if kept is not None and run.rounds and kept.is_file():
            self._run = kept.read_text(encoding="utf-8").strip()
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        told = "" if run.folder is None else str(run.folder.resolve())
        title = run.config.name or Path(told).name or run.config.strategy
        entry = self._client.create_run(experiment, run_name=title, tags={"fedtl.folder": told})
        self._run = entry.info.run_id
        for key, value in run.config.to_mapping().items():
            self._client.log_param(self._run, key, value)
        if kept is not None:
            kept.write_text(f"{self._run}\n", encoding="utf-8")

    def round(self, finished: Round, rounds: int) -> None:
        """Write a point of every curve."""
        for name, value in round_figures(finished).items():
            self._client.log_metric(self._run, name, value, step=finished.round)

    def ended(self, result: RunResult) -> None:
        """Write the result of the run, and that it has ended."""
        for name, value in final_figures(result).items():
            self._client.log_metric(self._run, name, value)
        self._client.set_tag(self._run, "fedtl.head_sha256", result.figures["head_sha256"])
        self._client.set_terminated(self._run)


OBSERVER = MLflow
