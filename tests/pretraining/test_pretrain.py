"""Rebuilding fedtl-tiny: the same bytes for the same seed, and the shipped file is one of them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from click.testing import Result
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from fedtl import pretrain
from fedtl.errors import FedtlError, UsageError
from fedtl.pretraining import learning
from fedtl.pretraining.dead_leaves import dead_leaves
from fedtl.pretraining.dictionary import learn_dictionary
from fedtl.pretraining.recipe import Recipe
from fedtl.transfer import tiny
from fedtl.transfer.backbones import load_backbone

SMALL = Recipe(kinds=4, pictures=2, steps=4, batch=4, leaves=20, patches=1000, iterations=2)
PROJECT = Path(__file__).resolve().parents[2]


def _quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def _digest(file: Path) -> str:
    # Of bytes that differ pytest would show where, which takes minutes for megabytes of them.
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _rebuilt(recipe: Recipe, out: Path) -> str:
    def on_progress(_: str, done: int, total: int) -> None:
        _quiet(done, total)

    work = out.with_name("work")
    pretrain.pretrain(recipe, out, work, device="cpu", resume=False, on_progress=on_progress)
    assert not work.exists()
    return _digest(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the small recipe gives without an interruption."""
    out = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    _rebuilt(SMALL, out)
    return out


def test_a_recipe_determines_every_byte(whole: Path, tmp_path: Path) -> None:
    first = _digest(whole)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert _rebuilt(SMALL, tmp_path / "again.safetensors") == first
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert _rebuilt(replace(SMALL, seed=1), tmp_path / "other.safetensors") != first


def _commanded(*flags: str) -> Result:
    """Run the command with the small recipe's options."""
    app = typer.Typer()
    app.command()(pretrain.main)
    options = pretrain.recipe_metadata(SMALL)["origin"].partition("fedtl.pretrain ")[2].split()
    return CliRunner().invoke(app, [*flags, *options])


def test_an_interrupted_run_is_not_overwritten_but_resumed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command, which thus writes what the library writes."""
    monkeypatch.setattr(learning, "CHECKPOINT_EVERY", 2)

    def interrupt(what: str, done: int, _: int) -> None:
        if what.startswith("learning the network") and done == 3:
            raise KeyboardInterrupt

    out = tmp_path / "resumed.safetensors"
    work = tmp_path / "resumed.safetensors.work"
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(SMALL, out, work, device="cpu", resume=False, on_progress=interrupt)
    with pytest.raises(UsageError, match="unfinished run"):
        pretrain.pretrain(SMALL, out, work, device="cpu", resume=False, on_progress=interrupt)
    other = replace(SMALL, learning_rate=0.5)
    with pytest.raises(UsageError, match="another recipe"):
        pretrain.pretrain(other, out, work, device="cpu", resume=True, on_progress=interrupt)
    steps: list[int] = []
    step = learning._step
    monkeypatch.setattr(learning, "_step", lambda *given: steps.append(given[-1]) or step(*given))
    run = _commanded("--out", str(out), "--device", "cpu", "--resume")
    assert run.exit_code == 0, run.output
    assert steps == [2, 3], "the two after the checkpoint"
    assert not work.exists()
    assert _digest(out) == _digest(whole)


def test_what_the_command_cannot_do_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = _commanded("--out", str(tmp_path / "file" / "x.safetensors"))
    assert isinstance(run.exception, FedtlError)
    assert "cannot be written" in str(run.exception)
    run = _commanded("--device", "tpu")
    assert isinstance(run.exception, UsageError)


def test_rebuilt_weights_load_as_a_backbone(whole: Path) -> None:
    backbone = load_backbone("fedtl-tiny", weights=str(whole), image_size=0, seed=0)
    assert backbone.feature_size == 992
    assert backbone.forward(torch.rand(2, 3, 64, 64)).isfinite().all()


def test_the_shipped_file_comes_from_the_default_recipe() -> None:
    with safe_open(tiny.SHIPPED_WEIGHTS, "torch") as file:
        assert file.metadata() == pretrain.recipe_metadata(Recipe())
    shipped = load_file(tiny.SHIPPED_WEIGHTS)
    half = {key for key, tensor in shipped.items() if tensor.dtype == torch.float16}
    assert half == {key for key in shipped if key.startswith("network.")}
    assert shipped["dictionary.filters"].sum((1, 2, 3)).abs().max() < 1e-4
    assert tiny.SHIPPED_WEIGHTS.stat().st_size <= 8e6


def test_the_documents_say_how_the_shipped_file_was_made() -> None:
    page = (PROJECT / "docs" / "backbone.md").read_text(encoding="utf-8")
    assert hashlib.sha256(tiny.SHIPPED_WEIGHTS.read_bytes()).hexdigest() in page
    assert Recipe().command() in re.sub(r"\s+(\\\s+)?", " ", page)


def test_filters_answer_to_structure_that_random_ones_miss() -> None:
    """K-means on whitened patches finds localised patterns: far heavier tails than Gaussian."""
    recipe = Recipe(patches=20_000, iterations=5)
    filters, _ = learn_dictionary(dead_leaves(200, 0, _quiet), recipe, _quiet)
    flat = filters.reshape(tiny.FILTERS, -1)
    kurtosis = (flat**4).mean(1) / (flat**2).mean(1) ** 2
    gaussian = np.random.default_rng(0).normal(size=flat.shape)
    random_kurtosis = (gaussian**4).mean(1) / (gaussian**2).mean(1) ** 2
    assert np.median(kurtosis) > np.median(random_kurtosis) + 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_look_the_same_at_every_scale(seed: int) -> None:
    """Like natural pictures, dead leaves have a spectrum that falls about as 1 / frequency²."""
    pictures = dead_leaves(200, seed, _quiet)
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
