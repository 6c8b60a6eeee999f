"""Inputs in, features out: decoding and the network's forward pass, many batches at once."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.dataset import Items
from fedtl.errors import FedtlError, UnreadableImageError, UsageError
from fedtl.transfer.backbones import Backbone
from fedtl.transfer.devices import device_named, reproducible_arithmetic

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_PREPARED_TOGETHER = 32
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


@dataclass(frozen=True, eq=False)
class Prepared:
    """Inputs that are ready to be collated.

    Attributes:
        slots: Theirs.
        arrays: One for each of ``slots``.
        length: To which they are padded, and so the shape of their batch.
        unreadable: Why others beside them cannot be decoded, by slot.
    """

    slots: list[int]
    arrays: list[NDArray[Any]]
    length: int
    unreadable: dict[int, str]


class Extractor:
    """Decodes, preprocesses and runs the backbone, many batches at once.

    A batch runs on one thread and has one of a few fixed shapes, filled up if it is the last one.
    So an input's features depend neither on the other inputs of its batch nor on the number of
    workers; see :class:`~fedtl.transfer.preparation.Preparation`.

    Args:
        items: Inputs, of the kind that the backbone takes. Where they have ``loader(indices)``,
            what that returns loads these, each once; where they have ``load_batch(indices)``, that
            returns several at once.
        backbone: The frozen network; it stays as it is.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` or a torch device.
        workers: Threads; ``None`` for one per core.

    Raises:
        UsageError: The precision or the device is unknown or not there.
    """

    def __init__(
        self,
        items: Items,
        backbone: Backbone,
        *,
        precision: str,
        device: str,
        workers: int | None,
    ) -> None:
        self.items = items
        self.workers = workers or len(os.sched_getaffinity(0))
        self.width = backbone.feature_size
        self._backbone = backbone
        self._preparation = backbone.preprocessing
        self._dtype = _dtype(precision)
        self._device = device_named(device)
        self._on_cores = self._device.type == "cpu"

    def run(self, slots: NDArray[np.int64], first: NDArray[np.int64]) -> Iterator[Batch]:
        """Yield the features of ``slots``, batch by batch; those of one length in order.

        Args:
            slots: Which inputs to run.
            first: For each slot, the index of its input.

        Raises:
            FedtlError: Features are not finite.
        """
        network = copy.deepcopy(self._backbone.network).to(self._device, self._dtype)
        network.to(memory_format=torch.channels_last)

        def features_of(batch: tuple[Tensor, ...]) -> Tensor:
            given = [
                tensor.to(self._device, self._dtype if tensor.is_floating_point() else None)
                for tensor in batch
            ]
            with torch.inference_mode():
                features: Tensor = network(*given)
                return features.float().cpu()

        def of_prepared(batch: Prepared) -> tuple[Prepared, Tensor | tuple[Tensor, ...]]:
            if not batch.slots:
                return batch, torch.empty(0, self.width)
            collated = self._collated(batch)
            return batch, features_of(collated) if self._on_cores else collated

        loader = getattr(self.items, "loader", None)
        load = self.items.load if loader is None else loader(first[slots])

        def of_slots(batch: NDArray[np.int64]) -> tuple[Prepared, Tensor | tuple[Tensor, ...]]:
            return of_prepared(self._prepared(batch, first, load))

        with reproducible_arithmetic():
            if self._preparation.one_shape:
                whole = _parts(slots, self._batch_size(0))
                ready = _in_order(of_slots, whole, self.workers)
            else:
                ready = _in_order(of_prepared, self._by_length(slots, first, load), self.workers)
            for batch, found in ready:
                features = found if isinstance(found, Tensor) else features_of(found)
                yield self._checked(batch, features.numpy()[: len(batch.slots)])

    def _batch_size(self, length: int) -> int:
        return self._preparation.batch_size(length, on_cores=self._on_cores)

    def _collated(self, batch: Prepared) -> tuple[Tensor, ...]:
        size = self._batch_size(batch.length)
        return self._preparation.collate(batch.arrays, batch.length, size)

    def _prepared(
        self, slots: NDArray[np.int64], first: NDArray[np.int64], load: Callable[[int], Any]
    ) -> Prepared:
        """Return the inputs of some slots, whatever their lengths, and why others have none."""
        prepare, held = self._preparation.prepare, slots.tolist()
        load_batch = getattr(self.items, "load_batch", None)
        if load_batch is not None:
            return Prepared(held, [prepare(item) for item in load_batch(first[slots])], 0, {})
        readable, arrays = [], []
        unreadable: dict[int, str] = {}
        for slot in held:
            try:
                arrays.append(prepare(load(int(first[slot]))))
            except UnreadableImageError as error:
                unreadable[slot] = str(error)
            else:
                readable.append(slot)
        return Prepared(readable, arrays, 0, unreadable)

    def _by_length(
        self, slots: NDArray[np.int64], first: NDArray[np.int64], load: Callable[[int], Any]
    ) -> Iterator[Prepared]:
        """Yield batches of inputs of one length each; only the last of a length may not be full."""

        def prepared(part: NDArray[np.int64]) -> Prepared:
            return self._prepared(part, first, load)

        waiting: dict[int, Prepared] = {}
        for part in _in_order(prepared, _parts(slots, _PREPARED_TOGETHER), self.workers):
            if part.unreadable:
                yield replace(part, slots=[], arrays=[])
            for slot, array in zip(part.slots, part.arrays, strict=True):
                length = self._preparation.padded_length(array)
                batch = waiting.setdefault(length, Prepared([], [], length, {}))
                batch.slots.append(slot)
                batch.arrays.append(array)
                if len(batch.slots) == self._batch_size(length):
                    yield waiting.pop(length)
        yield from waiting.values()

    def _checked(self, batch: Prepared, features: NDArray[np.float32]) -> Batch:
        if not np.isfinite(features).all():
            precision = str(self._dtype).removeprefix("torch.")
            raise FedtlError(
                f"{self._backbone.name} gives features that are not finite in {precision}; use "
                f"another --precision, or other weights."
            )
        return Batch(np.array(batch.slots, np.int64), features, batch.unreadable)


def by_source(
    items: Items, slots: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return slots so that inputs that are made of one, such as crops of a picture, are together.

    Args:
        items: Inputs. Only those that have ``sources(indices)``, of each a number, are made so.
        slots: Which inputs there are.
        first: For each slot, the index of its input.
    """
    sources = getattr(items, "sources", None)
    return slots if sources is None else slots[np.argsort(sources(first[slots]), kind="stable")]


def _parts(slots: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (slots[at : at + size] for at in range(0, len(slots), size))


def _in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
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


def _dtype(precision: str) -> torch.dtype:
    if precision not in _PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}; it should be {', '.join(_PRECISIONS)}.")
    return _PRECISIONS[precision]
