"""A federated head as layers of PyTorch's, with the standardisation folded in where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtl.federation.classifier import Classifier
from fedtl.plain_models.agreement import TOLERANCE, gap, outputs
from fedtl.plain_models.plain_layers import Cosine, Standardise
from fedtl.transfer.head_file import TrainedHead
from fedtl.transfer.heads import CosineHead, LinearHead, MLPHead
from fedtl.transfer.modules import HeadModule
from fedtl.transfer.standardisation import Standardisation

_ROWS = 64

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlainHead:
    """A head that takes features, shape ``(n, d)``, and returns the run's outputs, ``(n, K)``.

    Attributes:
        module: It.
        code: The expression that makes it, with weights of no meaning; empty if it is a class of
            the user's own, which only the run's environment has.
        layers: Classes of :mod:`fedtl.plain_models.plain_layers` that the expression names.
        told: How it differs from layers of PyTorch's with the standardisation in them, a sentence;
            empty if it does not.
    """

    module: nn.Module
    code: str
    layers: tuple[type[nn.Module], ...] = ()
    told: str = ""

    @property
    def linear(self) -> nn.Linear | None:
        """The only layer, if it is a linear one."""
        return self.module if isinstance(self.module, nn.Linear) else None


def own_head(classifier: Classifier) -> HeadModule:
    """Return the run's head as fedtl computes it; see :class:`HeadModule`."""
    form = classifier.form(classifier.feature_size)
    tempered = classifier.measure == "probability"
    return HeadModule(form, classifier.trained, tempered=tempered).eval()


def plain_heads(classifier: Classifier) -> Iterator[PlainHead]:
    """Yield the run's head as plain layers, whose outputs are those of :func:`own_head`.

    The standardisation is folded into the first linear layer in float64. Where features lie very
    many deviations from zero, the folded layer would lose digits in float32; the second form, in
    which the standardisation stays a layer, is for these.
    """
    form = classifier.form(classifier.feature_size)
    trained, own = classifier.trained, own_head(classifier)
    temperature = trained.temperature if classifier.measure == "probability" else 1.0
    if type(form) is CosineHead:
        yield _cosine(trained, form.options.scale / temperature)
    elif type(form) not in (LinearHead, MLPHead):
        told = f"head = {classifier.config.head!r} is a class of the run's own environment."
        yield PlainHead(own, "", told=told)
    else:
        head = _layers(trained, temperature, folded=True)
        rows = _like_the_runs(trained, classifier.feature_size)
        if gap(outputs(own, [rows]), outputs(head.module, [rows])) <= TOLERANCE / 2:
            yield head
        yield _layers(trained, temperature, folded=False)


def _layers(trained: TrainedHead, temperature: float, *, folded: bool) -> PlainHead:
    """Return a linear head, or one with a hidden layer, of float64 arithmetic rounded once."""
    arrays = {name: np.asarray(value, np.float64) for name, value in trained.arrays.items()}
    hidden = "hidden.weight" in arrays
    first, last = ("hidden.", "output.") if hidden else ("", "")
    if folded and trained.standardisation is not None:
        mean, scale = (
            np.asarray(one, np.float64)
            for one in (trained.standardisation.mean, trained.standardisation.scale)
        )
        arrays[f"{first}weight"] = arrays[f"{first}weight"] * scale
        arrays[f"{first}bias"] = arrays[f"{first}bias"] - arrays[f"{first}weight"] @ mean
    for name in ("weight", "bias"):
        arrays[f"{last}{name}"] = arrays[f"{last}{name}"] / temperature
    layers = [_linear(arrays[f"{first}weight"], arrays[f"{first}bias"])]
    if hidden:
        layers.append(_linear(arrays[f"{last}weight"], arrays[f"{last}bias"]))
    codes = [f"nn.Linear({one.in_features}, {one.out_features})" for one in layers]
    modules: list[nn.Module] = [*layers]
    if hidden:
        modules.insert(1, nn.ReLU())
        codes.insert(1, "nn.ReLU()")
    if folded:
        if len(modules) == 1:
            return PlainHead(modules[0].eval(), codes[0])
        return PlainHead(nn.Sequential(*modules).eval(), f"nn.Sequential({', '.join(codes)})")
    return PlainHead(
        nn.Sequential(_standardise(trained), *modules).eval(),
        f"nn.Sequential(Standardise({layers[0].in_features}), {', '.join(codes)})",
        (Standardise,),
        "The standardisation is a layer of its own: these features lie so many deviations from "
        "zero that a linear layer with it in would lose digits.",
    )


def _cosine(trained: TrainedHead, scale: float) -> PlainHead:
    """Return a cosine head, whose standardisation cannot be folded into a direction."""
    weight = torch.from_numpy(np.array(trained.arrays["weight"], np.float32))
    classes, features = weight.shape
    layer = Cosine(features, classes, scale)
    layer.weight = nn.Parameter(weight)
    return PlainHead(
        nn.Sequential(_standardise(trained), layer).eval(),
        f"nn.Sequential(Standardise({features}), Cosine({features}, {classes}, {scale!r}))",
        (Standardise, Cosine),
        "The head compares directions, so that it is two small layers of its own and no nn.Linear.",
    )


def _standardise(trained: TrainedHead) -> Standardise:
    width = next(iter(trained.arrays.values())).shape[-1]
    found = trained.standardisation or Standardisation.identity(width)
    layer = Standardise(width)
    layer.mean, layer.scale = (
        torch.from_numpy(np.array(one, np.float32)) for one in (found.mean, found.scale)
    )
    return layer


def _linear(weight: Doubles, bias: Doubles) -> nn.Linear:
    """Return a linear layer, without random numbers drawn for it."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float32)))
    layer.bias = nn.Parameter(torch.from_numpy(bias.astype(np.float32)))
    return layer


def _like_the_runs(trained: TrainedHead, width: int) -> Tensor:
    """Return features with the mean and deviation of those that the head was trained on."""
    drawn = np.random.default_rng(0).normal(size=(_ROWS, width))
    found = trained.standardisation
    if found is None:
        return torch.from_numpy(drawn.astype(np.float32))
    scale = np.asarray(found.scale, np.float64)
    deviation = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    return torch.from_numpy((found.mean + drawn * deviation).astype(np.float32))
