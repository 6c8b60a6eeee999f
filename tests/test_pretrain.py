"""Rebuilding fedtl-tiny: the same bytes for the same seed, and the shipped file is one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from typer.testing import CliRunner

from fedtl import pretrain
from fedtl.errors import FedtlError
from fedtl.pretrain import Recipe
from fedtl.transfer import tiny
from fedtl.transfer.backbones import load_backbone

SMALL = Recipe(filters=9, patch=5, pictures=60, patches=2000, iterations=4)


def _quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def _rebuilt(recipe: Recipe, out: Path) -> bytes:
    pretrain.pretrain(recipe, out, rendering=_quiet, learning=_quiet)
    return out.read_bytes()


def test_a_recipe_determines_every_byte(tmp_path: Path) -> None:
    first = _rebuilt(SMALL, tmp_path / "a.safetensors")
    assert _rebuilt(SMALL, tmp_path / "b.safetensors") == first
    other = Recipe(seed=1, filters=9, patch=5, pictures=60, patches=2000, iterations=4)
    assert _rebuilt(other, tmp_path / "c.safetensors") != first


def test_the_command_line_writes_what_the_library_writes(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(pretrain.main)
    options = pretrain.recipe_metadata(SMALL)["origin"].partition("fedtl.pretrain ")[2].split()
    run = CliRunner().invoke(app, ["--out", str(tmp_path / "cli.safetensors"), *options])
    assert run.exit_code == 0, run.output
    assert (tmp_path / "cli.safetensors").read_bytes() == _rebuilt(
        SMALL, tmp_path / "library.safetensors"
    )
    (tmp_path / "file").write_text("")
    run = CliRunner().invoke(app, ["--out", str(tmp_path / "file" / "x.safetensors"), *options])
    assert run.exit_code == FedtlError.exit_code
    assert "cannot be written" in run.output
    assert "Traceback" not in run.output


def test_rebuilt_weights_load_as_a_backbone(tmp_path: Path) -> None:
    _rebuilt(SMALL, tmp_path / "w.safetensors")
    backbone = load_backbone(
        "fedtl-tiny", weights=str(tmp_path / "w.safetensors"), image_size=0, seed=0
    )
    assert backbone.feature_size == 4 * 9


def test_the_shipped_file_comes_from_the_default_recipe() -> None:
    with safe_open(tiny.SHIPPED_WEIGHTS, "numpy") as file:
        assert file.metadata() == pretrain.recipe_metadata(Recipe())
    shipped = load_file(tiny.SHIPPED_WEIGHTS)
    assert shipped["filters"].shape == (tiny.FILTERS, 3, tiny.PATCH, tiny.PATCH)
    assert np.abs(shipped["filters"].sum((1, 2, 3))).max() < 1e-4


def test_filters_answer_to_structure_that_random_ones_miss() -> None:
    """K-means on whitened patches finds localised patterns: far heavier tails than Gaussian."""
    pictures = pretrain.dead_leaves(200, 0, _quiet)
    filters, _ = pretrain.learn_dictionary(
        pictures, Recipe(filters=32, patches=10_000, iterations=5), _quiet
    )
    flat = filters.reshape(32, -1)
    kurtosis = (flat**4).mean(1) / (flat**2).mean(1) ** 2
    gaussian = np.random.default_rng(0).normal(size=flat.shape)
    random_kurtosis = (gaussian**4).mean(1) / (gaussian**2).mean(1) ** 2
    assert np.median(kurtosis) > np.median(random_kurtosis) + 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_look_the_same_at_every_scale(seed: int) -> None:
    """Like natural pictures, dead leaves have a spectrum that falls about as 1 / frequency²."""
    pictures = pretrain.dead_leaves(200, seed, _quiet)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    grey = pictures.mean(1)
    window = np.hanning(32)[:, None] * np.hanning(32)
    centred = (grey - grey.mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    band = (frequency > 0.06) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -4.5 < slope < -1.5
