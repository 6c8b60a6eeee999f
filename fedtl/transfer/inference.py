"""Images in, features out: decoding and the network's forward pass, many batches at once."""

from __future__ import annotations

import contextlib
import copy
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.dataset import Images
from fedtl.errors import FedtlError, UnreadableImageError, UsageError
from fedtl.transfer.backbones import Backbone

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Pixels in a batch: enough to fill a core's arithmetic units (eight pictures of 224 x 224) or a
# GPU's, and little enough to stay in a cache. Results may depend on it in the last bit.
_CORE_BATCH_PIXELS = 8 * 224**2
_GPU_BATCH_PIXELS = 64 * 224**2
_LARGEST_CORE_BATCH = 32
_LARGEST_GPU_BATCH = 1024
_BATCHES_AHEAD = 2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Batch:
    """What became of a batch.

    Attributes:
        slots: Those with features.
        features: One row for each of ``slots``, float32.
        unreadable: Why there are none, by slot.
    """

    slots: NDArray[np.int64]
    features: NDArray[np.float32]
    unreadable: dict[int, str]


class Extractor:
    """Decodes, preprocesses and runs the backbone, many batches at once.

    A batch runs on one thread and has a fixed shape, the last one padded. So an image's features
    depend neither on the other images of its batch nor on the number of workers.

    Args:
        images: Pictures.
        backbone: The frozen network; it stays as it is.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` or a torch device.
        workers: Threads; ``None`` for one per core.

    Raises:
        UsageError: The precision or the device is unknown or not there.
    """

    def __init__(
        self,
        images: Images,
        backbone: Backbone,
        *,
        precision: str,
        device: str,
        workers: int | None,
    ) -> None:
        self.images = images
        self.workers = workers or len(os.sched_getaffinity(0))
        self.width = backbone.feature_size
        self._backbone = backbone
        self._dtype = _dtype(precision)
        self._device = device_named(device)
        self._on_cores = self._device.type == "cpu"
        pixels, largest = (
            (_CORE_BATCH_PIXELS, _LARGEST_CORE_BATCH)
            if self._on_cores
            else (_GPU_BATCH_PIXELS, _LARGEST_GPU_BATCH)
        )
        self._batch = max(1, min(largest, pixels // backbone.image_size**2))

    def run(self, slots: NDArray[np.int64], first: NDArray[np.int64]) -> Iterator[Batch]:
        """Yield the features of ``slots``, batch by batch, in order.

        Args:
            slots: Which images to run.
            first: For each slot, the index of its image.

        Raises:
            FedtlError: Features are not finite.
        """
        network = copy.deepcopy(self._backbone.network).to(self._device, self._dtype)
        network.to(memory_format=torch.channels_last)

        def features_of(pixels: Tensor) -> Tensor:
            with torch.inference_mode():
                features: Tensor = network(pixels.to(self._device, self._dtype))
                return features.float().cpu()

        def prepared(batch: NDArray[np.int64]) -> tuple[Tensor, dict[int, str]]:
            pixels, unreadable = self._pixels(first[batch])
            return features_of(pixels) if self._on_cores else pixels, unreadable

        batches = [slots[at : at + self._batch] for at in range(0, len(slots), self._batch)]
        with _reproducible_arithmetic():
            ready = _in_order(prepared, batches, self.workers)
            for batch, (tensor, unreadable) in zip(batches, ready, strict=True):
                features = tensor if self._on_cores else features_of(tensor)
                yield self._checked(batch, features.numpy()[: len(batch)], unreadable)

    def _pixels(self, indices: NDArray[np.int64]) -> tuple[Tensor, dict[int, str]]:
        """Return a whole batch, zero where there is no image, and the reasons by position."""
        size = self._backbone.image_size
        crops = np.zeros((self._batch, size, size, 3), np.uint8)
        unreadable: dict[int, str] = {}
        load_batch = getattr(self.images, "load_batch", None)
        if load_batch is not None:
            for position, picture in enumerate(load_batch(indices)):
                crops[position] = self._backbone.preprocessing.crop(picture)
        else:
            for position, index in enumerate(indices):
                try:
                    picture = self.images.load(int(index))
                except UnreadableImageError as error:
                    unreadable[position] = str(error)
                else:
                    crops[position] = self._backbone.preprocessing.crop(picture)
        return self._backbone.preprocessing.normalise(crops), unreadable

    def _checked(
        self, slots: NDArray[np.int64], features: NDArray[np.float32], unreadable: dict[int, str]
    ) -> Batch:
        if not np.isfinite(features).all():
            precision = str(self._dtype).removeprefix("torch.")
            raise FedtlError(
                f"{self._backbone.name} gives features that are not finite in {precision}; use "
                f"another --precision, or other weights."
            )
        readable = np.array([at not in unreadable for at in range(len(slots))], dtype=bool)
        return Batch(
            slots[readable],
            features[readable],
            {int(slots[at]): reason for at, reason in unreadable.items()},
        )


def _in_order(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Iterator[_Result]:
    """Yield ``function`` of each item in order, from threads that stay only a little ahead."""
    # Torch keeps the number of threads of an operation per thread, and a default for new ones.
    default = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures: deque[Future[_Result]] = deque()
        for item in items:
            futures.append(pool.submit(function, item))
            if len(futures) > _BATCHES_AHEAD * workers:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(default)


@contextlib.contextmanager
def _reproducible_arithmetic() -> Iterator[None]:
    """Keep a GPU from rounding float32 to TF32 and from choosing its algorithms by the clock."""
    matmul = torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        matmul.allow_tf32 = tf32


def _dtype(precision: str) -> torch.dtype:
    if precision not in _PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}; it should be {', '.join(_PRECISIONS)}.")
    return _PRECISIONS[precision]


def device_named(name: str) -> torch.device:
    """Return a device of this machine: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.

    Raises:
        UsageError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}; it should be auto, cpu or cuda.") from error
    available = torch.cuda.device_count() if device.type == "cuda" else int(device.type == "cpu")
    if (device.index or 0) >= available:
        raise UsageError(f"There is no device {name!r} on this machine; use auto or cpu.")
    return device
