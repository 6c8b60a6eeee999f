"""Self-supervised and supervised learning of the residual network on the invented world.

Two views of a picture should be alike, and so should two pictures of a kind, among all others of a
batch: the loss is the normalised temperature-scaled cross-entropy of T. Chen et al. (SimCLR, ICML
2020) with pictures as classes, plus its supervised form (P. Khosla et al., "Supervised Contrastive
Learning", NeurIPS 2020, eq. 2) with kinds as classes, each on a projection head of its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedtl.determinism import derived_seed
from fedtl.errors import FedtlError, UsageError
from fedtl.pretraining.recipe import Recipe
from fedtl.pretraining.views import views
from fedtl.transfer.stages import Stages
from fedtl.transfer.tiny import WIDTHS

PICTURES_OF_A_KIND = 2
CHECKPOINT_EVERY = 250
_PROJECTION = 128
_TEMPERATURE = 0.2
_WARM_UP = 300
_WEIGHT_DECAY = 0.05
_BETAS = (0.9, 0.98)
_LARGEST_GRADIENT = 3.0
# Side of the views, in pixels, in the first steps and in the others.
_SMALL_VIEW, _VIEW = 32, 48
_SMALL_SHARE = 0.25

# Called after each step with the number of steps done and the loss.
Progress = Callable[[int, float], None]


class Learner(nn.Module):
    """The network in training, with its two projection heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = Stages(WIDTHS, normalised=True)
        self.by_picture = _projection()
        self.by_kind = _projection()

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return both projections of the last stage's means, each of shape ``(n, 128)``."""
        return self.by_picture(pooled), self.by_kind(pooled)


class Halves:
    """Runs each half of a batch through the network on a thread of its own.

    On a CPU that is up to half again as fast as two threads for every convolution. Each half has a
    replica of the network, which shares the weights and has gradients of its own; its batch
    normalisations see that half alone (E. Hoffer et al., "Train longer, generalize better", NeurIPS
    2017). What is computed does not depend on how many cores there are.

    Args:
        stages: The network; running statistics are those of the first half.
    """

    def __init__(self, stages: Stages) -> None:
        twin = copy.deepcopy(stages)
        for own, shared in zip(twin.parameters(), stages.parameters(), strict=True):
            own.data = shared.data
        self._replicas = (stages, twin)
        self._threads = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> Halves:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def forward(self, pixels: Callable[[int], Tensor]) -> list[Tensor]:
        """Return the means of the last stage for each half, shape ``(n, 256)``, float32.

        Args:
            pixels: Called with 0 and 1, on different threads; returns that half's pictures, shape
                ``(n, 3, side, side)``.
        """

        def half(number: int) -> Tensor:
            seen = pixels(number).contiguous(memory_format=torch.channels_last)
            device = seen.device.type
            # A CPU without instructions for bfloat16 imitates them, twelve times slower.
            with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
                pooled: Tensor = self._replicas[number](seen)[-1].mean((2, 3))
            return pooled.float()

        return list(self._threads.map(half, (0, 1)))

    def backward(self, pooled: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Put the sum of both halves' gradients into the network's."""

        def half(number: int) -> None:
            for parameter in self._replicas[number].parameters():
                parameter.grad = None
            pooled[number].backward(gradients[number])  # type: ignore[no-untyped-call]

        list(self._threads.map(half, (0, 1)))
        first, second = (replica.parameters() for replica in self._replicas)
        for summed, other in zip(first, second, strict=True):
            assert summed.grad is not None
            assert other.grad is not None
            summed.grad += other.grad


def _projection() -> nn.Sequential:
    width = WIDTHS[-1]
    return nn.Sequential(
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, _PROJECTION)
    )


def contrastive_loss(projections: Tensor, classes: Tensor) -> Tensor:
    """Return the supervised contrastive loss, L_out of Khosla et al., eq. 2.

    Args:
        projections: Shape ``(n, d)``; their length does not matter.
        classes: Shape ``(n,)``; every class must occur at least twice.
    """
    directions = functional.normalize(projections, dim=1)
    itself = torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    similarity = (directions @ directions.T / _TEMPERATURE).masked_fill(itself, -torch.inf)
    log_share = similarity - similarity.logsumexp(1, keepdim=True)
    alike = (classes[:, None] == classes) & ~itself
    return -(log_share.masked_fill(~alike, 0).sum(1) / alike.sum(1)).mean()


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate of a step: a linear warm-up, then a half cosine to zero."""
    warm_up = min(1.0, (step + 1) / _WARM_UP)
    return recipe.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def learn(
    pictures: NDArray[np.uint8],
    recipe: Recipe,
    *,
    device: str,
    checkpoint: Path,
    resume: bool,
    on_step: Progress,
) -> dict[str, Tensor]:
    """Train the network; an interrupted run that is resumed ends in the same weights.

    Args:
        pictures: Of each kind, shape ``(kinds, pictures, side, side, 3)``.
        recipe: How long, and the seed.
        device: ``cpu`` or ``cuda``.
        checkpoint: File that the state goes to every 250 steps.
        resume: Whether to go on from that file if it is there.
        on_step: Called after each step.

    Returns:
        The state dict of :class:`Stages` without batch normalisations, on the CPU.

    Raises:
        UsageError: The checkpoint belongs to another recipe.
        FedtlError: The loss is no longer finite.
    """
    torch.manual_seed(derived_seed(recipe.seed, "initial weights") >> 1)
    learner = Learner().to(device)
    learner = learner.to(memory_format=torch.channels_last)
    optimiser = _optimiser(learner)
    first = _restored(learner, optimiser, recipe, checkpoint) if resume else 0
    world = torch.from_numpy(pictures)
    world = world.to(device) if device != "cpu" else world
    with Halves(learner.stages) as halves:
        for step in range(first, recipe.steps):
            loss = _step(learner, halves, optimiser, world, recipe, step)
            if not math.isfinite(loss):
                raise FedtlError(f"Learning diverged at step {step}: the loss is {loss}.")
            on_step(step + 1, loss)
            if (step + 1) % CHECKPOINT_EVERY == 0:
                _save(learner, optimiser, recipe, step + 1, checkpoint)
    stages = learner.stages.cpu().to(memory_format=torch.contiguous_format).eval()
    return dict(stages.fold().state_dict())


def _step(
    learner: Learner,
    halves: Halves,
    optimiser: torch.optim.Optimizer,
    world: Tensor,
    recipe: Recipe,
    step: int,
) -> float:
    draws = _draws(recipe, "step", step)
    kinds, number = world.shape[:2]
    drawn = torch.randperm(kinds, generator=draws)[: recipe.batch // PICTURES_OF_A_KIND]
    kind = drawn.repeat_interleave(PICTURES_OF_A_KIND)
    order = torch.rand(len(drawn), number, generator=draws).argsort(1)
    chosen = world[kind, order[:, :PICTURES_OF_A_KIND].flatten()]
    side = _SMALL_VIEW if step < _SMALL_SHARE * recipe.steps else _VIEW
    pooled = halves.forward(lambda half: views(chosen, side, _draws(recipe, "view", step, half)))
    means = torch.cat(pooled).detach().requires_grad_()
    by_picture, by_kind = learner(means)
    picture = torch.arange(len(chosen), device=world.device).repeat(2)
    loss = contrastive_loss(by_picture, picture)
    loss = loss + contrastive_loss(by_kind, kind.to(world.device).repeat(2))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, recipe)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    assert means.grad is not None
    halves.backward(pooled, means.grad.chunk(2))
    nn.utils.clip_grad_norm_(learner.parameters(), _LARGEST_GRADIENT)
    optimiser.step()
    return loss.item()


def _draws(recipe: Recipe, purpose: str, *indices: int) -> torch.Generator:
    # torch takes seeds below 2^63.
    return torch.Generator().manual_seed(derived_seed(recipe.seed, purpose, *indices) >> 1)


def _optimiser(learner: Learner) -> torch.optim.AdamW:
    matrices = [parameter for parameter in learner.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in learner.parameters() if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": _WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=_BETAS)


def _save(
    learner: Learner, optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, file: Path
) -> None:
    state = {
        "recipe": asdict(recipe),
        "step": step,
        "learner": learner.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    temporary = file.with_name(f".{file.name}.tmp")
    torch.save(state, temporary)
    temporary.replace(file)


def _restored(
    learner: Learner, optimiser: torch.optim.Optimizer, recipe: Recipe, file: Path
) -> int:
    """Put a checkpoint's state in place; return the number of steps that were done."""
    if not file.exists():
        return 0
    state = torch.load(file, map_location="cpu", weights_only=True)
    if state["recipe"] != asdict(recipe):
        command = Recipe(**state["recipe"]).command()
        raise UsageError(f"The checkpoint {file} belongs to another recipe: {command}")
    learner.load_state_dict(state["learner"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
