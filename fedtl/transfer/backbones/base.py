"""What a backbone is, and the fingerprint that proves it is the same for everyone."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtl.data.input_kinds import PICTURE, SOUND, TEXT, InputKind
from fedtl.data.sound import Sound
from fedtl.errors import UsageError
from fedtl.options import Options, declared
from fedtl.transfer.embeddings import FINGERPRINT_VERSION
from fedtl.transfer.preparation import Preparation
from fedtl.transfer.weights_file import used_tensors

if TYPE_CHECKING:
    from fedtl.config import RunConfig
    from fedtl.data.schema import Schema
    from fedtl.transfer.text_tower import TextTower

TINY = "fedtl-tiny"
RANDOM = "random"
DEFAULT = "DEFAULT"

# Names that can only be meant as files'.
_FILE_SUFFIXES = (".pth", ".pt", ".safetensors", ".tar", ".ckpt", ".bin", ".pkl", ".pickle")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pure function from inputs of one kind to features.

    Attributes:
        name: As ``backbone`` names it.
        feature_size: Number of features of an input.
        network: Maps what ``preprocessing`` collates, such as pictures of shape
            ``(n, 3, image_size, image_size)``, to ``(n, feature_size)``; frozen, in evaluation
            mode, float32, on the CPU.
        preprocessing: What turns inputs into the network's batches.
        fingerprint: SHA-256, hexadecimal, of everything that determines the features: the
            architecture, where it is cut, every tensor and all of the preprocessing. Two sites
            with the same fingerprint have the same backbone.
        told: Where in a file the weights were found, or what is left out of inputs, in a sentence;
            empty if there is nothing to tell.
        boundary_size: How many of the features, the first ones, are what crosses a cut: see
            :mod:`fedtl.transfer.boundary`.
    """

    name: str
    feature_size: int
    network: nn.Module
    preprocessing: Preparation
    fingerprint: str
    told: str = ""
    boundary_size: int = 0

    def preprocess(self, picture: NDArray[np.uint8]) -> Tensor:
        """Return ``(height, width, 3)`` as ``(3, image_size, image_size)``, float32."""
        (pixels,) = self.batch_of(picture)
        return pixels[0]

    def batch_of(self, item: Any) -> tuple[Tensor, ...]:
        """Return what the network takes, of one input of any kind."""
        prepared = self.preprocessing.prepare(item)
        length = self.preprocessing.padded_length(prepared)
        return self.preprocessing.collate([prepared], length, 1)

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the features of a collated batch.

        Args:
            batch: As the network takes them: of pictures a tensor of shape
                ``(n, 3, image_size, image_size)``, float32.

        Returns:
            Shape ``(n, feature_size)``, float32.
        """
        with torch.inference_mode():
            features: Tensor = self.network(*batch)
            return features


class Family(ABC):
    """One kind of backbone: a subclass writes :meth:`load`.

    Args:
        config: The run: its ``weights`` (``DEFAULT``, ``random``, or a name or file),
            ``image_size`` (0 for the size that belongs to the weights) and ``inputs_seed`` (of
            random weights) count, and the options of this class.
        argument: For what is named by no class of its own, the name; else what stands after the
            colon of ``backbone = name:ARGUMENT``.

    Attributes:
        schema: Of rows of a table, what all sites agreed on that columns are; else ``None``.
    """

    options = Options()
    schema: Schema | None = None

    def __init__(self, config: RunConfig, argument: str = "") -> None:
        self.config = config
        self.argument = argument

    @abstractmethod
    def load(self) -> Backbone:
        """Return the backbone, ready to run; see :meth:`frozen`.

        Raises:
            UsageError: A name is unknown, the weights do not fit, or the size is impossible.
            FedtlError: A download failed.
        """

    def text_tower(self) -> TextTower:
        """Return the half of the network that reads texts; a subclass that has one writes this.

        Features are then vectors of length 1, of which cosines with the texts' say what is alike.

        Raises:
            UsageError: It has none.
            FedtlError: A download failed.
        """
        raise UsageError(
            f"backbone = {self.config.backbone!r} has no half that reads names of classes, which "
            "prompt, init = 'zero-shot' and strategy = 'textncm' set beside its features; take one "
            "that has, such as open_clip:ARCH@FILE, or hf: with a folder of CLIP or SigLIP."
        )

    def frozen(
        self,
        network: nn.Module,
        feature_size: int,
        preprocessing: Preparation,
        *,
        name: str = "",
        rule: str = "",
        told: str = "",
    ) -> Backbone:
        """Return a network as a backbone: in evaluation mode, with its fingerprint.

        Args:
            network: Maps what ``preprocessing`` collates, such as ``(n, 3, size, size)``, to
                ``(n, feature_size)``.
            feature_size: Number of features of an input; 0 to find it.
            preprocessing: What turns inputs into the network's batches.
            name: The architecture's; by default the configured one.
            rule: What the network computes with its tensors, as a text that is changed whenever
                that changes; by default the class's file and options.
            told: Where in a file the weights were found, if that is not plain, or what is left out
                of inputs.

        Raises:
            UsageError: The rule is not given, and the class's file cannot be read.
        """
        network.eval().requires_grad_(False)
        feature_size = feature_size or _width(network, preprocessing)
        name = name or self.config.backbone
        return Backbone(
            name=name,
            feature_size=feature_size,
            network=network,
            preprocessing=preprocessing,
            fingerprint=fingerprint(name, network, preprocessing, rule or self._own_rule()),
            told=told,
        )

    def _own_rule(self) -> str:
        """Return the SHA-256 of the class's file, and the options: features depend on both."""
        module = inspect.getmodule(type(self))
        try:
            source = inspect.getsource(module) if module is not None else ""
        except OSError:
            source = ""
        if not source:
            raise UsageError(
                f"backbone = {self.config.backbone!r} has no file that can be read; let its load "
                "give frozen a rule, a text that is changed whenever its features change."
            )
        given = {key: value for key, value in self.config.options if key in declared(type(self))}
        return f"{hashlib.sha256(source.encode()).hexdigest()} {sorted(given.items())}"


def is_weights_file(weights: str) -> bool:
    """Return whether weights are meant as a file: one that exists, or a name that says so."""
    if weights in (DEFAULT, RANDOM):
        return False
    named = weights.lower().endswith(_FILE_SUFFIXES) or os.sep in weights
    return named or os.path.isfile(os.path.expanduser(weights))  # noqa: PTH111, PTH113 (never raises)


def fingerprint(name: str, network: nn.Module, preprocessing: Preparation, rule: str) -> str:
    """Return the SHA-256 of all that determines features; see :class:`Backbone`."""
    identity: dict[str, Any] = {
        "version": FINGERPRINT_VERSION,
        "architecture": name,
        "rule": rule,
        "preprocessing": preprocessing.identity(),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for key, tensor in used_tensors(network):
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()


def example_batch(preprocessing: Preparation) -> tuple[Tensor, ...]:
    """Return a batch of one input, such as a network takes."""
    prepared = preprocessing.prepare(_ANY[preprocessing.kind])
    return preprocessing.collate([prepared], preprocessing.padded_length(prepared), 1)


def _width(network: nn.Module, preprocessing: Preparation) -> int:
    """Return how many features the network gives."""
    with torch.inference_mode():
        return int(network(*example_batch(preprocessing)).shape[1])


# An input of each kind.
_ANY: dict[InputKind, Any] = {
    PICTURE: np.zeros((64, 64, 3), np.uint8),
    TEXT: "a text",
    SOUND: Sound(np.zeros(16_000, np.float32), 16_000),
}
