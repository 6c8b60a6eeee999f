"""The folder that ``export`` writes: weights, a script, class names and a model card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fedtl.errors import UnwrittenError, UsageError

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.plain_models.targets import Target


def export(
    run: Path, target: Target, out: Path | None, *, trust: bool, weights: Path | None = None
) -> tuple[Path, list[str]]:
    """Write a finished run's model; return the folder, and what is to be told.

    Args:
        run: The run's folder.
        target: The form of the weights.
        out: Where to; ``None`` for a folder in the run's.
        trust: Whether a class that the folder names may run, wherever its code lies.
        weights: The backbone's file of weights, if it is not where the folder says.

    Raises:
        UsageError: The run has no model to export, the model has no such form, or ``out`` exists.
        FedtlError: A file or the backbone is not available, or the written model says otherwise
            than the run's.
        UnwrittenError: The folder cannot be written.
    """
    from fedtl.federation.classifier import Classifier
    from fedtl.federation.run_identity import RunIdentity
    from fedtl.plain_models.input_code import input_code
    from fedtl.plain_models.plain_model import plain_model
    from fedtl.plain_models.script import needed_packages, script
    from fedtl.plain_models.targets import weights_file
    from fedtl.plain_models.weights import batches_of, write_weights
    from fedtl.report.model_card import Written, model_card
    from fedtl.results.result import RunResult

    classifier = Classifier.of_run(run, trust=trust, weights=weights)
    folder = (out or run / f"export-{target}").expanduser()
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists already; name another --out, or remove it.")
    plain = plain_model(classifier)
    result = RunResult.load(run, trust=trust)
    transforms = target in ("torch", "safetensors")
    code = input_code(plain.backbone, batches_of(plain), transforms=transforms)
    probabilities = classifier.measure == "probability"
    with _complete(folder) as part:
        told = write_weights(plain, target, part, code.names)
        told += _precision(classifier.config) + _rounding(plain.sensitivity)
        files = {
            "labels.json": json.dumps(list(plain.classes), indent=1, ensure_ascii=False).encode(),
            "load_model.py": script(plain, code, target, probabilities=probabilities).encode(),
            **code.files,
            **(plain.recipe.files if plain.recipe is not None and transforms else {}),
        }
        identity = RunIdentity.read(run.expanduser())
        simulated = None if identity is None else identity.runtime == "simulation"
        written = Written(
            target=target,
            file=weights_file(target),
            needs=needed_packages(plain, code, target),
            inputs=code.told,
            probabilities=probabilities,
            told=told,
            simulated=simulated,
        )
        files["MODEL_CARD.md"] = model_card(result, plain, written).encode()
        for name, content in files.items():
            (part / name).write_bytes(content)
    return folder, [*classifier.told, *told, *_names(classifier.config)]


def _precision(config: RunConfig) -> list[str]:
    if config.precision == "float32":
        return []
    return [
        f"The run computed features in {config.precision}, and the exported network computes in "
        "float32: outputs differ by that rounding."
    ]


def _rounding(sensitivity: float) -> list[str]:
    from fedtl.plain_models.agreement import TOLERANCE

    if sensitivity <= TOLERANCE:
        return []
    return [
        f"Outputs change by about {sensitivity:.0e} of their size if features are rounded "
        "otherwise in their last digit, as in another runtime or in batches of another shape: some "
        "features hardly vary, and the head weighs them heavily."
    ]


def _names(config: RunConfig) -> list[str]:
    if config.pseudonyms:
        return []
    return [
        "MODEL_CARD.md names the clients and their scores, as the run's report does; read it "
        "before you pass it on (a run with --pseudonyms has none of their names)."
    ]


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, and move it into place once all of it is written."""
    try:
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        part.mkdir(parents=True)
        try:
            yield part
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise UnwrittenError(
            f"{folder} cannot be written: {error.strerror or error}; free space, or choose another "
            "--out."
        ) from error
