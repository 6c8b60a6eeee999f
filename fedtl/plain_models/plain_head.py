"""A federated head as layers of PyTorch's, with the standardisation folded in where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtl.federation.classifier import Classifier
from fedtl.plain_models.agreement import TOLERANCE, outputs
from fedtl.plain_models.plain_layers import Cosine, Exact, Standardise
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


def own_outputs(classifier: Classifier, features: Tensor) -> Tensor:
    """Return what the run's head says of features, ``(n, K)``, as fedtl computes it.

    These are logits, divided by the temperature, where their softmax are probabilities.
    """
    if classifier.in_float64:
        found = torch.from_numpy(classifier.outputs(features.numpy()))
        return found / _temperature(classifier)
    return outputs(_own_head(classifier), [features])


def size_of_outputs(classifier: Classifier, found: Tensor) -> float:
    """Return how large outputs of real inputs are, from those of drawn ones.

    A head that knows the moments of its features says of features like these what it says of real
    ones. One that takes features as they are may say anything of drawn ones, a thousand times more
    than of real ones: its scores of these are about 1.
    """
    largest = float(found.abs().max())
    return largest if classifier.trained.standardisation is not None else min(largest, 1.0)


def plain_heads(classifier: Classifier, features: Tensor | None = None) -> Iterator[PlainHead]:
    """Yield the run's head as plain layers, whose outputs are those of :func:`own_outputs`.

    The standardisation is folded into the first linear layer in float64. Where features lie very
    many deviations from zero, the folded layer would lose digits in float32; the second form, in
    which the standardisation stays a layer, is for these. A head of a closed form takes features as
    they are; where it would lose digits, its second form computes in float64.

    Args:
        classifier: The run.
        features: Of drawn inputs, shape ``(n, d)``: on these it is seen whether a head that takes
            features as they are would lose digits; by default numbers around 0.
    """
    form = classifier.form(classifier.feature_size)
    trained, temperature = classifier.trained, _temperature(classifier)
    if type(form) is CosineHead:
        yield _cosine(trained, form.options.scale / temperature)
    elif type(form) not in (LinearHead, MLPHead):
        told = f"head = {classifier.config.head!r} is a class of the run's own environment."
        yield PlainHead(_own_head(classifier), "", told=told)
    else:
        head = _layers(trained, temperature, folded=True)
        rows = like_the_runs(classifier, features)
        expected = own_outputs(classifier, rows)
        lost = float((expected - outputs(head.module, [rows])).abs().max())
        if lost <= TOLERANCE / 2 * size_of_outputs(classifier, expected):
            yield head
        if trained.standardisation is None and type(form) is LinearHead:
            yield _exact(trained, temperature)
        else:
            yield _layers(trained, temperature, folded=False)


def _own_head(classifier: Classifier) -> HeadModule:
    form = classifier.form(classifier.feature_size)
    tempered = classifier.measure == "probability"
    return HeadModule(form, classifier.trained, tempered=tempered).eval()


def _temperature(classifier: Classifier) -> float:
    return classifier.trained.temperature if classifier.measure == "probability" else 1.0


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
        nn.Sequential(_standardise(trained, layers[0].in_features), *modules).eval(),
        f"nn.Sequential(Standardise({layers[0].in_features}), {', '.join(codes)})",
        (Standardise,),
        "The standardisation is a layer of its own: these features lie so many deviations from "
        "zero that a linear layer with it in would lose digits.",
    )


def _exact(trained: TrainedHead, temperature: float) -> PlainHead:
    """Return a linear head in float64."""
    classes, features = trained.arrays["weight"].shape
    layer = Exact(features, classes)
    for name in ("weight", "bias"):
        value = np.array(trained.arrays[name], np.float64) / temperature
        setattr(layer, name, nn.Parameter(torch.from_numpy(value)))
    return PlainHead(
        layer.eval(),
        f"Exact({features}, {classes})",
        (Exact,),
        "The head computes in float64, in a small layer of its own: some features hardly vary, and "
        "their weights are so large that a linear layer in float32 would lose digits.",
    )


def _cosine(trained: TrainedHead, scale: float) -> PlainHead:
    """Return a cosine head, whose standardisation cannot be folded into a direction."""
    weight = torch.from_numpy(np.array(trained.arrays["weight"], np.float32))
    classes, features = weight.shape
    layer = Cosine(features, classes, scale)
    layer.weight = nn.Parameter(weight)
    return PlainHead(
        nn.Sequential(_standardise(trained, features), layer).eval(),
        f"nn.Sequential(Standardise({features}), Cosine({features}, {classes}, {scale!r}))",
        (Standardise, Cosine),
        "The head compares directions, so that it is two small layers of its own and no nn.Linear.",
    )


def _standardise(trained: TrainedHead, width: int) -> Standardise:
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


def like_the_runs(classifier: Classifier, features: Tensor | None) -> Tensor:
    """Return features with the mean and deviation of those that the head was trained on.

    Args:
        classifier: The run.
        features: What is returned if it does not know these moments; by default numbers around 0.
    """
    drawn = np.random.default_rng(0).normal(size=(_ROWS, classifier.feature_size))
    found = classifier.trained.standardisation
    if found is None:
        return torch.from_numpy(drawn.astype(np.float32)) if features is None else features
    scale = np.asarray(found.scale, np.float64)
    deviation = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    return torch.from_numpy((found.mean + drawn * deviation).astype(np.float32))
