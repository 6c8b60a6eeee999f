"""Learning of the residual network: losses against their equations, views, folding, resumption."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fedtl.errors import FedtlError, UsageError
from fedtl.pretraining import learning
from fedtl.pretraining.learning import Halves, contrastive_loss, learn, learning_rate
from fedtl.pretraining.recipe import Recipe
from fedtl.pretraining.rendering import render_world
from fedtl.pretraining.views import views
from fedtl.transfer.stages import Stages

SMALL = Recipe(kinds=6, pictures=3, steps=6, batch=8)


def test_the_loss_is_khoslas_equation_2() -> None:
    rng = np.random.default_rng(0)
    projections, classes = rng.normal(size=(9, 5)), np.array([0, 1, 2, 0, 1, 2, 0, 0, 1])
    z = projections / np.linalg.norm(projections, axis=1, keepdims=True)
    expected = []
    for i in range(9):
        others = [a for a in range(9) if a != i]
        total = sum(math.exp(z[i] @ z[a] / 0.2) for a in others)
        alike = [p for p in others if classes[p] == classes[i]]
        logs = [math.log(math.exp(z[i] @ z[p] / 0.2) / total) for p in alike]
        expected.append(-np.mean(logs))
    found = contrastive_loss(torch.from_numpy(projections), torch.from_numpy(classes))
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_with_pairs_the_loss_is_simclrs_and_its_gradient_is_finite() -> None:
    """NT-Xent is a cross-entropy of each view's similarities, its twin's index as the target."""
    projections = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    pair = torch.arange(5).repeat(2)
    loss = contrastive_loss(projections, pair)
    z = torch.nn.functional.normalize(projections, dim=1)
    logits = (z @ z.T / 0.2).fill_diagonal_(-torch.inf)
    twin = torch.arange(10).roll(5)
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, twin).item())
    loss.backward()
    assert projections.grad is not None
    assert projections.grad.isfinite().all()


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    recipe = Recipe(steps=4000, learning_rate=1e-3)
    rates = [learning_rate(step, recipe) for step in range(4000)]
    assert rates[0] == pytest.approx(1e-3 / 300, rel=1e-3)
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert np.argmax(rates) == pytest.approx(300, abs=3)
    assert rates[2000] == pytest.approx(5e-4)
    assert 0 < rates[-1] < 1e-9


def test_views_differ_come_from_the_draws_and_keep_to_the_scale() -> None:
    pictures = torch.randint(256, (7, 40, 40, 3), dtype=torch.uint8)
    first = views(pictures, 24, torch.Generator().manual_seed(1))
    assert first.shape == (7, 3, 24, 24)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(views(pictures, 24, torch.Generator().manual_seed(1)), first)
    assert not torch.equal(views(pictures, 24, torch.Generator().manual_seed(2)), first)


def test_a_view_of_a_plain_picture_is_plain_but_for_grain() -> None:
    """Crops, colours and blur cannot draw a pattern; the sensor's noise is .06 at most."""
    plain = torch.randint(60, 200, (64, 1, 1, 3), dtype=torch.uint8).expand(64, 32, 32, 3)
    seen = views(plain, 32, torch.Generator().manual_seed(0))
    assert seen.std((2, 3)).max() < 0.07
    assert seen.mean((1, 2, 3)).std() > 0.1


def test_folding_keeps_what_the_network_computes() -> None:
    network = Stages((4, 6), normalised=True).double()
    for _ in range(3):
        network(torch.rand(8, 3, 16, 16, dtype=torch.float64))
    network.eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-1, 1)
        pixels = torch.rand(5, 3, 16, 16, dtype=torch.float64)
        before = network(pixels)
        plain = Stages((4, 6), normalised=False).double().eval()
        plain.load_state_dict(network.fold().state_dict())
        for one, other in zip(before, plain(pixels), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_halves_give_the_gradient_of_both_each_normalised_by_itself() -> None:
    stages = Stages((4, 6), normalised=True)
    plain = copy.deepcopy(stages)
    pixels, slopes = torch.rand(2, 8, 3, 16, 16), torch.randn(16, 6)
    with Halves(stages) as halves:
        for scale in (1.0, 0.5):  # As an optimiser does, weights are changed in place.
            with torch.no_grad():
                for parameter in (*stages.parameters(), *plain.parameters()):
                    parameter.mul_(scale)
            plain.zero_grad()
            pooled = halves.forward(pixels.__getitem__)
            halves.backward(pooled, slopes.chunk(2))
            expected = torch.cat([plain(half)[-1].mean((2, 3)) for half in pixels])
            (expected * slopes).sum().backward()
            torch.testing.assert_close(torch.cat(pooled), expected, rtol=1e-4, atol=1e-5)
            for one, other in zip(stages.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def _learnt(
    folder: Path, recipe: Recipe, *, resume: bool = False, stop_after: int = 0
) -> dict[str, torch.Tensor]:
    def on_step(step: int, _: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    world = render_world(recipe, folder / "world.npy", lambda _: None)
    return learn(
        world,
        recipe,
        device="cpu",
        checkpoint=folder / "checkpoint.pt",
        resume=resume,
        on_step=on_step,
    )


def test_a_resumed_run_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "CHECKPOINT_EVERY", 2)
    whole = _learnt(tmp_path, SMALL)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(KeyboardInterrupt):
        _learnt(tmp_path, SMALL, stop_after=5)
    resumed = _learnt(tmp_path, SMALL, resume=True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    with pytest.raises(UsageError, match=r"another recipe: python -m fedtl\.pretrain --seed 0"):
        _learnt(tmp_path, Recipe(kinds=6, pictures=3, steps=7, batch=8), resume=True)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FedtlError, match="diverged at step"):
        _learnt(tmp_path, Recipe(kinds=6, pictures=3, steps=60, batch=8, learning_rate=1e30))


def test_learning_tells_pictures_and_kinds_apart(tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = Recipe(kinds=8, pictures=4, steps=30, batch=16)
    world = render_world(recipe, tmp_path / "world.npy", lambda _: None)
    learn(
        world,
        recipe,
        device="cpu",
        checkpoint=tmp_path / "checkpoint.pt",
        resume=False,
        on_step=lambda _, loss: losses.append(loss),
    )
    chance = math.log(31) * 2
    assert np.mean(losses[-5:]) < min(chance, np.mean(losses[:5])) - 0.3
