"""Features of inputs through the cache: the frozen backbone runs once per input, ever."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Items
from fedtl.errors import UnreadableImageError
from fedtl.transfer.backbones import Backbone
from fedtl.transfer.feature_file import DIGEST_BYTES, MATRIX_OFFSET, FeatureFile
from fedtl.transfer.features import FeatureStore
from fedtl.transfer.inference import Batch, Extractor, by_source

# What a kill may cost.
_SEGMENT_ROWS = 4096
_SEGMENT_SECONDS = 30.0
_VIEW_BLOCK_ROWS = 4096
_DIGESTS_PER_TASK = 256

_logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
# Slots and the index of each slot's input: Extractor.run.
_Run = Callable[[NDArray[np.int64], NDArray[np.int64]], Iterator[Batch]]
# The same, told the inputs and the backbone.
Runner = Callable[[Items, Backbone, NDArray[np.int64], NDArray[np.int64]], Iterator[Batch]]


@dataclass(frozen=True, eq=False)
class Features:
    """The features of some inputs, in their order.

    Attributes:
        array: Shape ``(n, d)``, float32; a read-only map of the cache's file where there is one.
            Rows of unreadable inputs are zero.
        path: The file that holds ``array``, for
            :func:`fedtl.transfer.feature_file.memory_map`; ``None`` without a cache.
        offset: Where in the file the array begins, in bytes.
        unreadable: Index and reason of each input that could not be decoded.
        computed: Distinct inputs that went through the backbone in this call.
        reused: Distinct inputs whose features the cache had.
        content: Shape ``(n,)``, int64: inputs of equal number have the same digest.
        digests: Shape ``(n, 32)``, uint8.
    """

    array: NDArray[np.float32]
    path: Path | None
    offset: int
    unreadable: tuple[tuple[int, str], ...]
    computed: int
    reused: int
    content: NDArray[np.int64]
    digests: NDArray[np.uint8]


def extract_features(
    items: Items,
    backbone: Backbone,
    *,
    cache: Path | None,
    precision: str,
    device: str,
    on_progress: Progress | None,
    workers: int | None = None,
    runner: Runner | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Features:
    """Return every input's features, running the backbone only over inputs it has not seen.

    An input's features depend on that input alone, not on its batch, nor on the number of workers:
    batches have a few fixed shapes, the last one filled up, and each runs on one thread.

    Args:
        items: Inputs of the kind that the backbone takes; see :class:`Extractor`.
        backbone: The frozen network.
        cache: Cache folder; ``None`` keeps everything in memory and writes nothing.
        precision: ``float32``, ``bfloat16`` or ``float16``: the network's weights and inputs. The
            features are float32 in any case.
        device: ``auto`` (a GPU if there is one), or a torch device: ``cpu``, ``cuda``, ``cuda:1``.
        on_progress: Called with the inputs that have their features and their total number, in
            this thread.
        workers: Threads that decode, and without a GPU run the backbone; all cores by default.
        runner: Runs the backbone elsewhere, in place of this process's threads.
        on_wait: Called with the name of a process that fills the cache, before a wait for it.

    Raises:
        UsageError: The precision or the device is unknown or not there.
        FedtlError: The cache cannot be written, or features are not finite.
    """
    extractor = Extractor(items, backbone, precision=precision, device=device, workers=workers)
    chosen = extractor.run if runner is None else partial(runner, items, backbone)

    def run(slots: NDArray[np.int64], first: NDArray[np.int64]) -> Iterator[Batch]:
        return chosen(by_source(items, slots, first), first)

    wanted = _Wanted.of(_digests(items, extractor.workers))
    report = on_progress or (lambda done, total: None)
    if cache is None:
        return _in_memory(run, backbone.feature_size, wanted, report)
    identity = f"{backbone.fingerprint}\n{precision}"
    store = FeatureStore(
        cache,
        extractor=hashlib.sha256(identity.encode()).hexdigest(),
        width=backbone.feature_size,
    )
    view = _still_true(store.view(wanted.digests), items)
    computed = 0
    if view is None:
        with store.filling(on_wait or _logger.info):
            view = _still_true(store.view(wanted.digests), items)
            if view is None:
                view, computed = _filled(store, run, backbone.feature_size, wanted, report)
    report(len(wanted.digests), len(wanted.digests))
    return Features(
        array=view.matrix,
        path=view.path,
        offset=MATRIX_OFFSET,
        unreadable=tuple(sorted(view.unreadable.items())),
        computed=computed,
        reused=len(wanted.first) - computed - len({wanted.slot[row] for row in view.unreadable}),
        content=wanted.slot,
        digests=wanted.digests,
    )


def _still_true(view: FeatureFile | None, items: Items) -> FeatureFile | None:
    """Return a view unless an input that it calls unreadable can be decoded by now.

    Another version of fedtl or Pillow, or an extra, may read what could not be read before.
    """
    for row, reason in () if view is None else view.unreadable.items():
        try:
            items.load(row)
        except UnreadableImageError as error:
            if str(error) == reason:
                continue
        return None
    return view


@dataclass(frozen=True, eq=False)
class _Wanted:
    """The inputs that were asked for; a *slot* is one distinct input among them.

    Attributes:
        digests: Shape ``(n, 32)``, uint8.
        slot: The slot of each input, shape ``(n,)``.
        first: The first input of each slot, ascending.
        copies: How many inputs share each slot.
    """

    digests: NDArray[np.uint8]
    slot: NDArray[np.int64]
    first: NDArray[np.int64]
    copies: NDArray[np.int64]

    @classmethod
    def of(cls, digests: NDArray[np.uint8]) -> _Wanted:
        keys = np.ascontiguousarray(digests).view(f"V{DIGEST_BYTES}").ravel()
        _, first, inverse, copies = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(first)
        rank = np.argsort(order)
        return cls(digests, rank[inverse], first[order], copies[order])


def _in_memory(run: _Run, width: int, wanted: _Wanted, report: Progress) -> Features:
    matrix = np.zeros((len(wanted.first), width), np.float32)
    unreadable: dict[int, str] = {}
    done, total = 0, len(wanted.digests)
    report(done, total)
    for batch in run(np.arange(len(wanted.first)), wanted.first):
        matrix[batch.slots] = batch.features
        unreadable |= batch.unreadable
        done += int(wanted.copies[[*batch.slots, *batch.unreadable]].sum())
        report(done, total)
    return Features(
        array=matrix if len(matrix) == total else matrix[wanted.slot],
        path=None,
        offset=0,
        unreadable=_by_image(unreadable, wanted),
        computed=len(matrix) - len(unreadable),
        reused=0,
        content=wanted.slot,
        digests=wanted.digests,
    )


def _filled(
    store: FeatureStore, run: _Run, width: int, wanted: _Wanted, report: Progress
) -> tuple[FeatureFile, int]:
    """Compute what no file has, save the view, and return it with the number of computed inputs."""
    gathered = _Gathered(len(wanted.first), width)
    slot_of = {wanted.digests[row].tobytes(): slot for slot, row in enumerate(wanted.first)}
    for file in store.files_with(slot_of):
        gathered.add_file(file, slot_of)
    missing = gathered.missing()
    total = len(wanted.digests)
    done = total - int(wanted.copies[missing].sum())
    report(done, total)

    unreadable: dict[int, str] = {}
    pending: list[Batch] = []
    pending_since = time.monotonic()
    for batch in run(missing, wanted.first):
        unreadable |= batch.unreadable
        pending.append(batch)
        rows = sum(len(each.slots) for each in pending)
        if rows and (rows >= _SEGMENT_ROWS or time.monotonic() - pending_since > _SEGMENT_SECONDS):
            slots = np.concatenate([each.slots for each in pending])
            features = np.concatenate([each.features for each in pending])
            segment = store.add_segment(wanted.digests[wanted.first[slots]], features)
            gathered.add(slots, np.arange(len(slots)), segment.matrix)
            pending, pending_since = [], time.monotonic()
        done += int(wanted.copies[[*batch.slots, *batch.unreadable]].sum())
        report(done, total)
    for batch in pending:
        gathered.add(batch.slots, np.arange(len(batch.slots)), batch.features)

    view = store.add_view(
        wanted.digests, gathered.blocks(wanted.slot), dict(_by_image(unreadable, wanted))
    )
    return view, len(missing) - len(unreadable)


class _Gathered:
    """Where each slot's features lie: in files of the cache or in memory."""

    def __init__(self, slots: int, width: int) -> None:
        self._width = width
        self._sources: list[NDArray[np.float32]] = []
        self._source = np.full(slots, -1)
        self._row = np.zeros(slots, np.int64)

    def add(
        self, slots: NDArray[np.int64], rows: NDArray[np.int64], matrix: NDArray[np.float32]
    ) -> None:
        """Say that the slots' features are these rows of a matrix."""
        self._source[slots] = len(self._sources)
        self._row[slots] = rows
        self._sources.append(matrix)

    def add_file(self, file: FeatureFile, slot_of: dict[bytes, int]) -> None:
        """Take the slots that a cache file has, and that are still missing."""
        rows_of: dict[int, int] = {}
        for row, digest in enumerate(file.digests):
            slot = slot_of.get(digest.tobytes())
            if slot is not None and row not in file.unreadable and self._source[slot] < 0:
                rows_of[slot] = row
        slots = np.fromiter(rows_of.keys(), np.int64, len(rows_of))
        self.add(slots, np.fromiter(rows_of.values(), np.int64, len(rows_of)), file.matrix)

    def missing(self) -> NDArray[np.int64]:
        """Return the slots without features, ascending."""
        return np.flatnonzero(self._source < 0)

    def blocks(self, slots: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """Yield the features of ``slots`` in order, some rows at a time; zero where missing."""
        for at in range(0, len(slots), _VIEW_BLOCK_ROWS):
            wanted = slots[at : at + _VIEW_BLOCK_ROWS]
            block = np.zeros((len(wanted), self._width), np.float32)
            for source in np.unique(self._source[wanted]):
                if source >= 0:
                    here = self._source[wanted] == source
                    block[here] = self._sources[source][self._row[wanted[here]]]
            yield block


def _by_image(unreadable: dict[int, str], wanted: _Wanted) -> tuple[tuple[int, str], ...]:
    """Return the reasons by image instead of slot: an image may occur several times."""
    return tuple(
        (row, unreadable[slot])
        for row, slot in enumerate(wanted.slot.tolist())
        if slot in unreadable
    )


def _digests(items: Items, workers: int) -> NDArray[np.uint8]:
    spans = [
        range(at, min(at + _DIGESTS_PER_TASK, len(items)))
        for at in range(0, len(items), _DIGESTS_PER_TASK)
    ]
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda span: b"".join(map(items.digest, span)), spans)
        return np.frombuffer(b"".join(parts), np.uint8).reshape(len(items), DIGEST_BYTES)
