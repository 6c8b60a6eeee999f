"""A dictionary of picture patches, learnt by k-means.

A. Coates, A. Y. Ng, "Learning Feature Representations with K-Means", 2012: contrast normalisation,
ZCA whitening, spherical k-means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator
from fedtl.pretraining.dead_leaves import Pictures, Progress
from fedtl.pretraining.recipe import Recipe
from fedtl.transfer.dictionary import CONTRAST_FLOOR
from fedtl.transfer.tiny import FILTERS, PATCH

Matrix = NDArray[np.float64]

# ZCA: added to the eigenvalues of the patches' covariance.
_WHITENING_FLOOR = 0.1
# Soft threshold on the whitened scale.
_THRESHOLD = 1.0


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
    atoms = _unit(generator(recipe.seed, "atoms").normal(size=(FILTERS, len(mean))))
    for iteration in range(recipe.iterations):
        similarity = whitened @ atoms.T
        nearest = np.abs(similarity).argmax(axis=1)
        weight = np.zeros_like(similarity)
        examples = np.arange(len(whitened))
        weight[examples, nearest] = similarity[examples, nearest]
        # The old atom is added, as in the paper, so that an atom without patches stays.
        atoms = _unit(weight.T @ whitened + atoms)
        on_progress(iteration + 1, recipe.iterations)
    linear = atoms @ whitening
    thresholds = linear @ mean + _THRESHOLD
    linear -= linear.mean(axis=1, keepdims=True)
    shape = (FILTERS, 3, PATCH, PATCH)
    return linear.reshape(shape).astype(np.float32), thresholds.astype(np.float32)


def _normalised_patches(pictures: Pictures, recipe: Recipe) -> Matrix:
    rng = generator(recipe.seed, "patches")
    corners = pictures.shape[-1] - PATCH + 1
    picture = rng.integers(len(pictures), size=recipe.patches)
    y, x = rng.integers(corners, size=(2, recipe.patches))
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (PATCH, PATCH), axis=(2, 3))
    patches = windows[picture, :, y, x].reshape(recipe.patches, -1).astype(np.float64)
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST_FLOOR)
    return patches


def _unit(rows: Matrix) -> Matrix:
    scaled: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
