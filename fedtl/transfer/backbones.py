"""The frozen network that every client shares, and the fingerprint that proves it is the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtl.errors import UsageError
from fedtl.transfer import tiny
from fedtl.transfer.checkpoint_file import read_checkpoint
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.state_search import find_state
from fedtl.transfer.weights_file import load_checked, used_tensors

TINY = "fedtl-tiny"
RANDOM = "random"
DEFAULT = "DEFAULT"

_FINGERPRINT_VERSION = 1
# Names that can only be meant as files'.
_FILE_SUFFIXES = (".pth", ".pt", ".safetensors", ".tar", ".ckpt", ".bin", ".pkl", ".pickle")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pure function from pictures to features.

    Attributes:
        name: ``fedtl-tiny`` or a torchvision architecture.
        feature_size: Number of features of a picture.
        network: Maps ``(n, 3, image_size, image_size)`` to ``(n, feature_size)``; frozen, in
            evaluation mode, float32, on the CPU.
        preprocessing: What turns a decoded picture into the network's input.
        fingerprint: SHA-256, hexadecimal, of everything that determines the features: the
            architecture, where it is cut, every tensor, the preprocessing and the picture size.
            Two sites with the same fingerprint have the same backbone.
        told: Where in a file the weights were found, in a sentence; empty where that is plain.
    """

    name: str
    feature_size: int
    network: nn.Module
    preprocessing: Preprocessing
    fingerprint: str
    told: str = ""

    @property
    def image_size(self) -> int:
        """Side of the square network input, in pixels."""
        return self.preprocessing.image_size

    def preprocess(self, picture: NDArray[np.uint8]) -> Tensor:
        """Return ``(height, width, 3)`` as ``(3, image_size, image_size)``, float32."""
        return self.preprocessing(picture)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the features of a preprocessed batch.

        Args:
            batch: Shape ``(n, 3, image_size, image_size)``, float32.

        Returns:
            Shape ``(n, feature_size)``, float32.
        """
        with torch.inference_mode():
            features: Tensor = self.network(batch)
            return features


def load_backbone(name: str, *, weights: str, image_size: int, seed: int) -> Backbone:
    """Return a backbone, ready to run.

    Args:
        name: ``fedtl-tiny`` or any torchvision classification architecture by its torchvision
            name; see :func:`fedtl.transfer.torchvision_models.cut` for where it is cut.
        weights: ``DEFAULT`` (what fedtl ships, or torchvision's best, which torchvision
            downloads), ``random``, the path of a PyTorch or safetensors file, whatever its suffix,
            or a member of the architecture's torchvision weights enum.
        image_size: Side of the pictures that the network sees, in pixels; 0 for the size that
            belongs to the weights.
        seed: Determines ``random`` weights; of no effect otherwise.

    Raises:
        UsageError: A name is unknown, the weights do not fit, or the size is impossible.
        FedtlError: A download failed.
    """
    if name == TINY:
        return _load_tiny(weights, image_size, seed)
    return _load_torchvision(name, weights, image_size, seed)


def embedding_fingerprint(feature_size: int) -> str:
    """Return what stands for a backbone's fingerprint where data come as embeddings already.

    Args:
        feature_size: Length of an embedding.
    """
    identity = f"embedding {_FINGERPRINT_VERSION} {feature_size}"
    return hashlib.sha256(identity.encode()).hexdigest()


def _load_tiny(weights: str, image_size: int, seed: int) -> Backbone:
    told = ""
    if weights == RANDOM:
        network = tiny.random_tiny(seed)
    elif weights == DEFAULT:
        network = tiny.tiny_of(read_checkpoint(tiny.SHIPPED_WEIGHTS), "shipped weights file")
    elif is_weights_file(weights):
        source = f"weights file {weights}"
        content = read_checkpoint(Path(weights).expanduser())
        found = find_state(content, tiny.tiny_keys(), source=source)
        network, told = tiny.tiny_of(found.state, source), found.told
    else:
        raise UsageError(
            f"Unknown weights {weights!r} for {TINY}; they should be {DEFAULT}, a file "
            f"(.pth, .safetensors, …), or {RANDOM}."
        )
    size = image_size or tiny.IMAGE_SIZE
    if size < tiny.SMALLEST_PICTURE:
        raise UsageError(
            f"{TINY} takes pictures of at least {tiny.SMALLEST_PICTURE} pixels a side, not {size}."
        )
    preprocessing = Preprocessing(
        image_size=size,
        resize=None,
        interpolation="BILINEAR",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return _frozen(TINY, network, network.feature_size, preprocessing, tiny.RULE, told)


def _load_torchvision(name: str, weights: str, image_size: int, seed: int) -> Backbone:
    from fedtl.transfer import torchvision_models as models

    by_name = weights != RANDOM and not is_weights_file(weights)
    entry = models.weights_entry(name, weights if by_name else DEFAULT)
    preprocessing = Preprocessing.of_torchvision(entry.transforms(), image_size)
    told = ""
    if weights == RANDOM:
        cut = models.randomly_initialised(name, preprocessing.image_size, seed)
    else:
        cut = models.uninitialised(name, preprocessing.image_size)
        if by_name:
            source, content = f"{name}'s {weights} weights", models.download(name, entry)
        else:
            source = f"weights file {weights}"
            content = read_checkpoint(Path(weights).expanduser())
        keys = cut.network.state_dict().keys()
        found = find_state(content, keys, source=source, renamed=models.current_keys)
        load_checked(cut.network, found.state, source=source, ignored=cut.removed)
        told = found.told
    return _frozen(name, cut.network, cut.feature_size, preprocessing, models.CUT_RULE, told)


def is_weights_file(weights: str) -> bool:
    """Return whether weights are meant as a file: one that exists, or a name that says so."""
    if weights in (DEFAULT, RANDOM):
        return False
    named = weights.lower().endswith(_FILE_SUFFIXES) or os.sep in weights
    return named or os.path.isfile(os.path.expanduser(weights))  # noqa: PTH111, PTH113 (never raises)


def _frozen(
    name: str,
    network: nn.Module,
    feature_size: int,
    preprocessing: Preprocessing,
    rule: str,
    told: str,
) -> Backbone:
    network.eval().requires_grad_(False)
    return Backbone(
        name=name,
        feature_size=feature_size,
        network=network,
        preprocessing=preprocessing,
        fingerprint=_fingerprint(name, network, preprocessing, rule),
        told=told,
    )


def _fingerprint(name: str, network: nn.Module, preprocessing: Preprocessing, rule: str) -> str:
    identity: dict[str, Any] = {
        "version": _FINGERPRINT_VERSION,
        "architecture": name,
        "rule": rule,
        "preprocessing": dataclasses.asdict(preprocessing),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for key, tensor in used_tensors(network):
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()
