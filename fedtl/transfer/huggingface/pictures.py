"""Networks for pictures: ViT and kin, ResNet, ConvNeXt, Swin, and the picture half of CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedtl.data.input_kinds import PICTURE, InputKind
from fedtl.errors import UsageError
from fedtl.transfer.huggingface.model_place import ModelPlace
from fedtl.transfer.huggingface.texts import FIRST, MEAN, token_vectors
from fedtl.transfer.preparation import PIXELS

_JOINT = "get_image_features"


@dataclass(frozen=True, eq=False)
class ProcessedPictures:
    """Pictures as a processor of transformers' prepares them, one by one.

    Attributes:
        processor: The processor.
        told: All that determines what it does, as JSON.
        shape: Of what it returns: ``(3, height, width)``.
    """

    processor: Any
    told: str
    shape: tuple[int, int, int]

    @property
    def kind(self) -> InputKind:
        """Pictures."""
        return PICTURE

    @property
    def one_shape(self) -> bool:
        """All are brought to one size."""
        return True

    def prepare(self, item: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return a picture's pixels as the network takes them."""
        return _processed(self.processor, item)

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return 0

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return PIXELS.inputs(self.shape[1] * self.shape[2], on_cores=on_cores)

    def collate(
        self, prepared: Sequence[NDArray[np.float32]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return pixels, shape ``(size, 3, height, width)``."""
        pixels = np.zeros((size, *self.shape), np.float32)
        for row, found in enumerate(prepared):
            pixels[row] = found
        return (torch.from_numpy(pixels),)

    def identity(self) -> Mapping[str, Any]:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return {"processor": self.told, "shape": list(self.shape)}


def _processed(processor: Any, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    from PIL import Image

    found = processor(images=Image.fromarray(np.ascontiguousarray(picture)), return_tensors="np")
    return np.asarray(found["pixel_values"][0], np.float32)


def picture_network(place: ModelPlace) -> tuple[nn.Module, ProcessedPictures, str]:
    """Return a network for pictures, what prepares them, and how vectors are pooled, as a name.

    Raises:
        UsageError: The model cannot be read, or not be pooled so.
    """
    processor = place.processor("AutoImageProcessor")
    shape = _processed(processor, np.zeros((97, 131, 3), np.uint8)).shape
    if len(shape) != 3 or shape != _processed(processor, np.zeros((300, 64, 3), np.uint8)).shape:
        raise UsageError(
            f"{place.where} brings pictures to sizes that differ, and fedtl takes one size."
        )
    model = place.model()
    joint = hasattr(model, _JOINT) and not place.pool and place.layer is None
    if hasattr(model, _JOINT) and not joint:
        model = model.vision_model
    pool = "joint" if joint else place.pool or (FIRST if _has_first(model) else MEAN)
    if pool not in ("joint", FIRST, MEAN):
        raise UsageError(f"pool = {pool!r} is not known; it is {FIRST} or {MEAN}.")
    prepared = ProcessedPictures(processor, processor.to_json_string(), shape)
    return PictureEncoder(model, pool, place.layer), prepared, pool


def _has_first(model: nn.Module) -> bool:
    """Return whether the first of the vectors stands for the whole picture."""
    return any("cls_token" in name or "class_embedding" in name for name in model.state_dict())


class PictureEncoder(nn.Module):
    """From pixels to one vector a picture.

    Args:
        model: Gives a vector for each patch or place, or one a picture if ``pool`` is ``joint``.
        pool: ``cls``, ``mean`` or ``joint``: the last is what stands beside the vectors of texts,
            of length 1.
        layer: Whose vectors are taken; ``None`` for what the model gives.
    """

    def __init__(self, model: nn.Module, pool: str, layer: int | None) -> None:
        super().__init__()
        self.model: Any = model
        self._pool, self._layer = pool, layer

    def forward(self, pixels: Tensor) -> Tensor:
        """Return vectors, shape ``(n, d)``, of pixels ``(n, 3, height, width)``."""
        if self._pool == "joint":
            found = self.model.get_image_features(pixel_values=pixels)
            joint: Tensor = found if isinstance(found, Tensor) else found.pooler_output
            return functional.normalize(joint, dim=-1)
        vectors = token_vectors(self.model, self._layer, pixel_values=pixels)
        if vectors.ndim == 4:
            return vectors.flatten(2).mean(2)
        return vectors[:, 0] if self._pool == FIRST else vectors.mean(1)
