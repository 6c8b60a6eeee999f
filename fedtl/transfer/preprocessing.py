"""From a decoded picture to a network's input, the same whatever pictures share its batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.input_kinds import PICTURE, InputKind
from fedtl.transfer.preparation import PIXELS

# Of a picture's sides. What lies farther out would be cropped away after resizing, and a line of
# one pixel by a million would become gigabytes before.
_LONGEST_RATIO = 16


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalise, as torchvision's ``ImageClassification`` does on PIL pictures.

    Resizing is PIL's antialiased one: integer arithmetic, so it is the same on every processor.

    Attributes:
        image_size: Side of the square network input, in pixels.
        resize: Length of the shorter side before the centre crop, in pixels; ``None`` squeezes
            the whole picture into the square instead.
        interpolation: Name of a ``PIL.Image.Resampling`` filter, for example ``"BILINEAR"``.
        mean: Subtracted per RGB channel, on the scale 0 to 1.
        std: Divided by, per RGB channel, on the scale 0 to 1.
    """

    image_size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def kind(self) -> InputKind:
        """Pictures."""
        return PICTURE

    @property
    def one_shape(self) -> bool:
        """All crops are of one size."""
        return True

    @classmethod
    def of_torchvision(cls, transform: Any, image_size: int) -> Preprocessing:
        """Return the constants of a torchvision weights' evaluation transform.

        Args:
            transform: A ``torchvision.transforms._presets.ImageClassification``.
            image_size: Side of the network input in pixels; 0 for the transform's own. The resize
                before the crop is scaled in proportion.
        """
        native = int(transform.crop_size[0])
        size = image_size or native
        return cls(
            image_size=size,
            resize=round(int(transform.resize_size[0]) * size / native),
            interpolation=str(transform.interpolation.name),
            mean=three_numbers(transform.mean),
            std=three_numbers(transform.std),
        )

    def crop(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the resized and centrally cropped picture.

        Args:
            picture: RGB, shape ``(height, width, 3)``, any size.

        Returns:
            Shape ``(image_size, image_size, 3)``, uint8.
        """
        size = self.image_size
        if self.resize is None:
            return self._resized(picture, size, size)
        picture = _not_too_long(picture)
        height, width = picture.shape[:2]
        if width <= height:
            picture = self._resized(picture, self.resize * height // width, self.resize)
        else:
            picture = self._resized(picture, self.resize, self.resize * width // height)
        # Python rounds halves to even, which is where torchvision puts the crop.
        top = round((picture.shape[0] - size) / 2)
        left = round((picture.shape[1] - size) / 2)
        return picture[top : top + size, left : left + size]

    def prepare(self, item: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See :class:`~fedtl.transfer.preparation.Preparation`, and :meth:`crop`."""
        return self.crop(item)

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return 0

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return PIXELS.inputs(self.image_size**2, on_cores=on_cores)

    def collate(
        self, prepared: Sequence[NDArray[np.uint8]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return the pixels of a batch, zero where there is no picture; see :meth:`normalise`."""
        crops = np.zeros((size, self.image_size, self.image_size, 3), np.uint8)
        for position, crop in enumerate(prepared):
            crops[position] = crop
        return (self.normalise(crops),)

    def identity(self) -> Mapping[str, Any]:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return dataclasses.asdict(self)

    def normalise(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Return cropped pictures as a network's input.

        Args:
            pictures: Shape ``(n, image_size, image_size, 3)``.

        Returns:
            Shape ``(n, 3, image_size, image_size)``, float32, channels-last in memory.
        """
        pixels = torch.from_numpy(pictures).to(torch.float32).div_(255.0)
        pixels.sub_(torch.tensor(self.mean)).div_(torch.tensor(self.std))
        return pixels.permute(0, 3, 1, 2)

    def __call__(self, picture: NDArray[np.uint8]) -> Tensor:
        """Return one picture ``(height, width, 3)`` as ``(3, image_size, image_size)``, float32."""
        return self.normalise(np.array(self.crop(picture))[None])[0]

    def _resized(self, picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        from PIL import Image

        if picture.shape[:2] == (height, width):
            return picture
        source = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(source.resize((width, height), Image.Resampling[self.interpolation]))


def three_numbers(values: Sequence[float]) -> tuple[float, float, float]:
    """Return one number for each of red, green and blue."""
    red, green, blue = values
    return float(red), float(green), float(blue)


def _not_too_long(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the middle of a picture whose sides are of very different length."""
    most = _LONGEST_RATIO * min(picture.shape[:2])
    top = max(0, (picture.shape[0] - most) // 2)
    left = max(0, (picture.shape[1] - most) // 2)
    return picture[top : top + max(most, 1), left : left + max(most, 1)]
