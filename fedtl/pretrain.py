"""``python -m fedtl.pretrain``: rebuild the shipped backbone, fedtl-tiny, from a seed.

No natural picture is involved: the dictionary is learnt on *dead leaves*, random shapes that cover
each other, which share with photographs what matters at the size of a patch, edges, corners and
flat areas at every scale (A. B. Lee, D. Mumford, J. Huang, "Occlusion models for natural images",
IJCV 2001). Learning follows A. Coates, A. Y. Ng, "Learning Feature Representations with K-Means",
2012: contrast normalisation, ZCA whitening, spherical k-means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from fedtl.determinism import generator
from fedtl.errors import FedtlError

Matrix = NDArray[np.float64]
Pictures = NDArray[np.float32]
Progress = Callable[[int, int], None]

FORMAT = 1
_PICTURE_SIDE = 32
_PICTURES_AT_ONCE = 50
_LEAVES = 100
_SMALLEST_RADIUS, _LARGEST_RADIUS = 1.5, 20.0
# Leaves may lie out of focus: the width of an edge, in pixels.
_SHARPEST, _SOFTEST = 1.0, 4.0
# ZCA: added to the eigenvalues of the patches' covariance.
_WHITENING_FLOOR = 0.1
# Soft threshold on the whitened scale.
_THRESHOLD = 1.0


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights.

    Attributes:
        seed: Of every random draw.
        filters: Atoms of the dictionary.
        patch: Side of a patch in pixels.
        pictures: Dead-leaves pictures to render.
        patches: Patches to learn from.
        iterations: Of k-means.
    """

    seed: int = 0
    filters: int = 128
    patch: int = 6
    pictures: int = 3000
    patches: int = 150_000
    iterations: int = 20


def dead_leaves(count: int, seed: int, on_progress: Progress) -> Pictures:
    """Render pictures of ellipses and rectangles that cover each other.

    Radii follow a power law, of density proportional to r⁻³, which makes the picture look the same
    at every scale; colours vary mostly in lightness, as in photographs.

    Args:
        count: Number of pictures.
        seed: Determines them.
        on_progress: Called with the pictures done and their number.

    Returns:
        Shape ``(count, 3, 32, 32)``, on the scale 0 to 1.
    """
    blocks = []
    for start in range(0, count, _PICTURES_AT_ONCE):
        rng = generator(seed, "dead leaves", start)
        blocks.append(_render(min(_PICTURES_AT_ONCE, count - start), rng))
        on_progress(min(start + _PICTURES_AT_ONCE, count), count)
    return np.concatenate(blocks)


def _render(count: int, rng: np.random.Generator) -> Pictures:
    side, each = _PICTURE_SIDE, (_LEAVES, count)
    small, large = _SMALLEST_RADIUS**-2, _LARGEST_RADIUS**-2
    radius = (small + rng.random(each) * (large - small)) ** -0.5
    aspect = rng.uniform(0.3, 1.0, each)
    angle = rng.uniform(0, np.pi, each)
    x, y = rng.uniform(-4, side + 4, (2, *each))
    rectangular = rng.random(each) < 1 / 3
    edge = rng.uniform(_SHARPEST, _SOFTEST, each)
    shading = rng.normal(0, 0.15, each)
    mean = rng.uniform(0.2, 0.8, (count, 1)) + 0.1 * rng.normal(size=(count, 3))
    contrast = rng.uniform(0.1, 0.35, (count, 1))
    lightness = contrast * rng.normal(size=(*each, 1))
    colour = mean + lightness + 0.06 * rng.normal(size=(*each, 3))

    def spread(values: Matrix) -> Pictures:
        return values.astype(np.float32)[..., None, None]

    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    canvas = np.broadcast_to(spread(mean), (count, 3, side, side))
    for leaf in range(_LEAVES):
        cosine, sine = spread(np.cos(angle[leaf])), spread(np.sin(angle[leaf]))
        across, down = columns - spread(x[leaf]), rows - spread(y[leaf])
        u = (cosine * across + sine * down) / spread(radius[leaf])
        v = (cosine * down - sine * across) / spread(radius[leaf] * aspect[leaf])
        distance = np.where(
            rectangular[leaf][:, None, None], np.maximum(abs(u), abs(v)), np.sqrt(u * u + v * v)
        )
        steepness = spread(radius[leaf] * aspect[leaf] / edge[leaf])
        opacity = np.clip((1 - distance) * steepness + 0.5, 0, 1)[:, None]
        shade = (spread(shading[leaf]) * np.clip(u, -1, 1))[:, None]
        canvas = canvas + opacity * (spread(colour[leaf]) + shade - canvas)
    return np.clip(canvas, 0, 1)


def learn_dictionary(
    pictures: Pictures, recipe: Recipe, on_progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Learn a dictionary of whitened patches by spherical k-means.

    Args:
        pictures: Shape ``(n, 3, side, side)``, on the scale 0 to 1.
        recipe: How.
        on_progress: Called with the iterations done and their number.

    Returns:
        ``filters`` of shape ``(K, 3, patch, patch)``, to be applied to contrast-normalised but
        unwhitened patches, each summing to zero; and ``thresholds``, ``(K,)``.
    """
    patches = _normalised_patches(pictures, recipe)
    mean = patches.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(patches.T))
    whitening = axes @ np.diag((variances + _WHITENING_FLOOR) ** -0.5) @ axes.T
    whitened = (patches - mean) @ whitening
    atoms = _unit(generator(recipe.seed, "atoms").normal(size=(recipe.filters, len(mean))))
    for iteration in range(recipe.iterations):
        similarity = whitened @ atoms.T
        nearest = np.abs(similarity).argmax(axis=1)
        weight = np.zeros_like(similarity)
        examples = np.arange(len(whitened))
        weight[examples, nearest] = similarity[examples, nearest]
        # The old atom is added, as in the paper, so that an atom without patches stays.
        atoms = _unit(weight.T @ whitened + atoms)
        on_progress(iteration + 1, recipe.iterations)
    filters = atoms @ whitening
    thresholds = filters @ mean + _THRESHOLD
    filters -= filters.mean(axis=1, keepdims=True)
    shape = (recipe.filters, 3, recipe.patch, recipe.patch)
    return filters.reshape(shape).astype(np.float32), thresholds.astype(np.float32)


def _normalised_patches(pictures: Pictures, recipe: Recipe) -> Matrix:
    from fedtl.transfer.tiny import CONTRAST_FLOOR

    rng = generator(recipe.seed, "patches")
    corners = pictures.shape[-1] - recipe.patch + 1
    picture = rng.integers(len(pictures), size=recipe.patches)
    y, x = rng.integers(corners, size=(2, recipe.patches))
    windows = np.lib.stride_tricks.sliding_window_view(
        pictures, (recipe.patch, recipe.patch), axis=(2, 3)
    )
    patches = windows[picture, :, y, x].reshape(recipe.patches, -1).astype(np.float64)
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST_FLOOR)
    return patches


def _unit(rows: Matrix) -> Matrix:
    scaled: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def recipe_metadata(recipe: Recipe) -> dict[str, str]:
    """Return what the weights file says of its origin.

    It is a single entry, because safetensors writes several in an order that changes.
    """
    options = " ".join(f"--{name} {value}" for name, value in asdict(recipe).items())
    return {"origin": f"fedtl-tiny, format {FORMAT}: python -m fedtl.pretrain {options}"}


def pretrain(recipe: Recipe, out: Path, *, rendering: Progress, learning: Progress) -> None:
    """Render, learn, and write the weights file; the same bytes for the same recipe and machine.

    Args:
        recipe: Everything that determines the weights.
        out: File to write, ``.safetensors``.
        rendering: Called with the pictures done and their number.
        learning: Called with the iterations done and their number.

    Raises:
        FedtlError: The file cannot be written.
    """
    from safetensors.numpy import save

    pictures = dead_leaves(recipe.pictures, recipe.seed, rendering)
    filters, thresholds = learn_dictionary(pictures, recipe, learning)
    content = save({"filters": filters, "thresholds": thresholds}, recipe_metadata(recipe))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(out)
    except OSError as error:
        raise FedtlError(f"The weights file {out} cannot be written: {error.strerror}.") from error


def main(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("fedtl-tiny.safetensors"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = Recipe.seed,
    filters: Annotated[int, typer.Option(min=1, max=4096, help="Atoms.")] = Recipe.filters,
    patch: Annotated[int, typer.Option(min=2, max=16, help="Patch side, px.")] = Recipe.patch,
    pictures: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Pictures to render.")
    ] = Recipe.pictures,
    patches: Annotated[
        int, typer.Option(min=1000, max=10_000_000, help="Patches to learn from.")
    ] = Recipe.patches,
    iterations: Annotated[
        int, typer.Option(min=1, max=1000, help="K-means iterations.")
    ] = Recipe.iterations,
) -> None:
    """Rebuild fedtl-tiny's weights on rendered pictures only, deterministically from the seed."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    recipe = Recipe(seed, filters, patch, pictures, patches, iterations)
    console = Console(stderr=True)
    try:
        with Bars(console=console) as bars:
            rendered = bars.add_task("rendering pictures", total=recipe.pictures)
            learnt = bars.add_task("learning filters", total=recipe.iterations)
            pretrain(
                recipe,
                out,
                rendering=lambda done, _: bars.update(rendered, completed=done),
                learning=lambda done, _: bars.update(learnt, completed=done),
            )
    except FedtlError as error:
        console.print(str(error), markup=False)
        raise typer.Exit(error.exit_code) from error
    console.print(f"wrote {out}", markup=False)


if __name__ == "__main__":
    typer.run(main)
