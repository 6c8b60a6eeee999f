"""Embeddings for ``predict``: files of them, and slides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtl.errors import UnreadableImageError, UsageError
from fedtl.given_inputs import EMBEDDINGS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedtl.federation.classifier import Classifier
    from fedtl.given_inputs import Named


def read_embeddings(classifier: Classifier, arguments: Sequence[str]) -> Named:
    """Return a name for each row of the files' arrays ``x``, and for each slide, and the rows."""
    import numpy as np

    from fedtl.data.slide_folder import files_of_slides

    names: list[str] = []
    parts = []
    for argument in arguments:
        if not argument.startswith(EMBEDDINGS):
            raise UsageError(
                f"{classifier.run} was trained on embeddings, so it takes {EMBEDDINGS}FILE.npz or "
                f"FILE.parquet with x, or slides, {EMBEDDINGS}FOLDER of .h5, not {argument}."
            )
        path = Path(argument.removeprefix(EMBEDDINGS)).expanduser()
        slides = files_of_slides(path)
        if slides:
            rows = _slides(slides, path, classifier.feature_size, names)
        else:
            rows = _embeddings(path, classifier.feature_size)
            names.extend(f"{path.name}:{row}" for row in range(len(rows)))
        parts.append(rows)
    return names, np.concatenate(parts)


def _slides(
    slides: Sequence[Path], path: Path, width: int, names: list[str]
) -> NDArray[np.float32]:
    """Return a row for each slide that can be read, and add their names."""
    import numpy as np

    from fedtl.data.slide_folder import pooled

    rows = []
    for slide in slides:
        try:
            row = pooled(slide)
        except UnreadableImageError as error:
            print(f"warning: {slide} cannot be read and is skipped: {error}", file=sys.stderr)
            continue
        rows.append(checked_rows(row[None], width, "what its features come to", f"{slide}: "))
        names.append(slide.stem)
    if not rows:
        raise UsageError(f"{path}: none of its {len(slides):,} slides can be read.")
    return np.concatenate(rows)


def _embeddings(path: Path, width: int) -> NDArray[np.float32]:
    """Return the file's array ``x`` as finite float32 of shape ``(n, width)``, n > 0."""
    from fedtl.data.feature_arrays import features_alone

    return checked_rows(features_alone(path, width), width, "x", f"{path}: ")


def checked_rows(x: NDArray[Any], width: int, name: str, where: str = "") -> NDArray[np.float32]:
    """Return features as finite float32 of shape ``(n, width)``, n > 0.

    Args:
        x: What was given.
        width: Number of features that the head takes.
        name: What they are called, for messages.
        where: What messages begin with.

    Raises:
        UsageError: They are of another shape, or not finite numbers.
    """
    import numpy as np

    if x.ndim != 2 or not len(x) or x.shape[1] != width or x.dtype.kind not in "fiu":
        raise UsageError(
            f"{where}{name} is {x.dtype} of shape {x.shape}, but the head takes numbers of shape "
            f"(n, {width})."
        )
    # A number beyond float32 becomes infinite here and is refused below like any other.
    with np.errstate(over="ignore"):
        rows = x.astype(np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise UsageError(
            f"{where}row {int(np.argmin(finite))} of {name} (counting from 0) has a value that is "
            "NaN, infinite or beyond float32."
        )
    return rows
