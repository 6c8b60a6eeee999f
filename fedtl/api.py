"""The Python API: what the commands do, with results for further work.

from fedtl import compare, predict, simulate

result = simulate(clients=5, strategy="fed3r")
result.clients  # a pandas DataFrame
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.command_line import absolute_paths
from fedtl.comparison.axes import Axes, choices
from fedtl.comparison.comparison_result import ComparisonResult
from fedtl.comparison.folder import ComparisonFolder
from fedtl.comparison.plan import SEEDS, Plan, settled_base
from fedtl.comparison.runner import run_comparison
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.config_key import Scalar, kebab
from fedtl.errors import UsageError
from fedtl.federation.classifier import Classifier
from fedtl.given_embeddings import checked_rows, read_embeddings
from fedtl.given_inputs import extract_given
from fedtl.observers.observer import Observer
from fedtl.observers.progress import RunProgress
from fedtl.observers.run_folder import RunFolder
from fedtl.report.comparison_files import write_comparison
from fedtl.results.result import RunResult
from fedtl.simulation import simulation
from fedtl.user_code import unbar

if TYPE_CHECKING:
    import pandas as pd


def simulate(
    config: RunConfig | None = None,
    *,
    seeds: int = 1,
    observers: Sequence[Observer] = (),
    progress: bool = True,
    **keys: Scalar,
) -> RunResult:
    """Run one federation on this machine or Ray cluster, as ``fedtl simulate`` does.

    The run has a folder, set by ``out``; an interrupted run goes on with ``fedtl simulate
    --resume FOLDER``.

    Args:
        config: The run's configuration; by default all keys have their defaults.
        seeds: Number of seeds of the run, its own included.
        observers: Who watches it, in order.
        progress: Whether lines on standard output show progress.
        keys: Keys of the configuration by Python name, such as ``learning_rate=0.1`` or
            ``fedprox_mu=0.01``, which override ``config``.

    Raises:
        UsageError: A key is unknown, or a value is invalid.
        FedtlError: Something that the run needs is not available; every message is one sentence.
    """
    began = time.perf_counter()
    given = {kebab(name): value for name, value in keys.items()}
    unbar()
    chosen = absolute_paths(from_mapping(given, where="simulate()", base=config))
    folder = RunFolder.create(chosen.settled(given.keys()))
    with folder.at_work(), _shown(progress) as shown:
        run = simulation(folder, shown, seeds=seeds, began=began, observers=tuple(observers))
        return run.result()


def compare(
    strategies: Sequence[str],
    config: RunConfig | None = None,
    *,
    seeds: int = SEEDS,
    target: float = 0.0,
    tune: int = 0,
    progress: bool = True,
    **keys: Scalar | Sequence[Scalar],
) -> ComparisonResult:
    """Compare strategies on one federation, as ``fedtl compare`` does.

    Args:
        strategies: As ``strategy`` takes them, two or more for a ranking.
        config: What all runs have in common; by default all keys have their defaults.
        seeds: Number of seeds; a test needs five.
        target: Accuracy for which rounds and bytes are reported; 0 is 95 % of the best.
        tune: Trials of each strategy's search for its own parameters; 0 is none.
        progress: Whether lines on standard output show progress.
        keys: Keys of the configuration by Python name; a list of values is compared.

    Raises:
        UsageError: A key is unknown, or a value is invalid.
        FedtlError: Something that all runs need is not available, or every run failed.
    """
    chosen, given = tuple(strategies), {kebab(name): value for name, value in keys.items()}
    vary: Axes = {key: tuple(v) for key, v in given.items() if not isinstance(v, Scalar)}
    fixed = {key: value for key, value in given.items() if isinstance(value, Scalar)}
    unbar()
    others = choices({**vary, "strategy": chosen})
    base = absolute_paths(from_mapping(fixed, where="compare()", base=config, others=others))
    plan = Plan(settled_base(base, vary, fixed), chosen, seeds, vary, target, tune)
    folder = ComparisonFolder.create(plan, base.out)
    with folder.at_work(), _shown(progress) as shown:
        write_comparison(folder, run_comparison(folder, shown))
    return ComparisonResult.load(folder.path)


def predict(
    run: RunResult | str | Path,
    inputs: str | Path | Sequence[str | Path] | NDArray[np.floating],
    *,
    trust: bool = False,
) -> pd.DataFrame:
    """Classify new inputs with a finished run's head, as ``fedtl predict`` does.

    Args:
        run: The run, or its folder.
        inputs: Files, folders or archives of images, texts or recordings, or tables of texts or
            rows; for a run on embeddings ``"features:FILE.npz"``; or features themselves, shape
            ``(n, d)``.
        trust: Whether a class that the folder names may run, wherever its code lies.

    Returns:
        A row per input, by its name (of features, by number): ``predicted``, and a column of
        probabilities or scores per class; scores of closed forms are about 1 for its class.

    Raises:
        UsageError: The run has no head to classify with, or the inputs do not fit it.
        FedtlError: An input or the backbone is not available.
    """
    import pandas as pd

    folder = run.path if isinstance(run, RunResult) else Path(run)
    if folder is None:
        raise UsageError("The run has no folder, so there is nothing to classify with.")
    classifier = Classifier.of_run(folder, trust=trust, remedy="give trust=True")
    for told in classifier.told:
        print(f"warning: {told}", file=sys.stderr)
    names: Sequence[Any]
    if isinstance(inputs, np.ndarray):
        features = checked_rows(inputs, classifier.feature_size, "inputs")
        names = range(len(features))
    else:
        many = [inputs] if isinstance(inputs, str | Path) else inputs
        given = [str(one) for one in many]
        read = read_embeddings if classifier.takes_embeddings else _files
        names, features = read(classifier, given)
    values = classifier.values(features)
    classes = classifier.trained.classes
    table = pd.DataFrame(values, index=list(names), columns=list(classes))
    table.insert(0, "predicted", [classes[at] for at in values.argmax(1)])
    return table


def _files(classifier: Classifier, given: Sequence[str]) -> tuple[list[str], Any]:
    return extract_given(classifier, given, quiet=True)[1]


def _shown(progress: bool) -> RunProgress:
    """Return a progress display in plain lines, which also suits notebooks."""
    from rich.console import Console

    console = Console(file=sys.stdout, force_terminal=False, force_jupyter=False)
    return RunProgress(console, quiet=not progress)
