"""What every data source yields: labelled inputs in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fedtl.data.input_kinds import InputKind, kind_of

if TYPE_CHECKING:
    from fedtl.data.grey_scale import Extent, GreyScale
    from fedtl.data.left_aside import LeftAside


class Items(Protocol):
    """A sequence of inputs that are read or rendered one by one, from any thread.

    An attribute ``kind``, an :class:`~fedtl.data.input_kinds.InputKind`, says what they are;
    without one they are pictures.
    """

    def __len__(self) -> int: ...

    def digest(self, index: int) -> bytes:
        """Return 32 bytes that determine the input: a SHA-256 of its file, or of its recipe."""
        ...

    def load(self, index: int) -> Any:
        """Return the input: a picture (see :class:`Images`), a text as ``str``, a
        :class:`~fedtl.data.sound.Sound` or a :class:`~fedtl.data.rows.Row`.

        Raises:
            UnreadableImageError: It cannot be decoded.
        """
        ...


class Images(Items, Protocol):
    """A sequence of RGB pictures."""

    def load(self, index: int) -> NDArray[np.uint8]:
        """Return the picture, shape ``(height, width, 3)``.

        Raises:
            UnreadableImageError: The picture cannot be decoded.
        """
        ...


@runtime_checkable
class GreyImages(Images, Protocol):
    """Pictures from files, whose grey values may have more than 8 bits."""

    def grey_extent(self, index: int) -> Extent | None:
        """Return a picture's smallest and largest value; ``None`` if it counts for no scale.

        Raises:
            UnreadableImageError: The picture cannot be decoded.
        """
        ...

    def with_scale(self, scale: GreyScale) -> Images:
        """Return the pictures with what is black and white in those of more than 8 bits."""
        ...


@dataclass(frozen=True)
class _Subset:
    """The inputs of ``source`` at ``rows``, one by one."""

    source: Items
    rows: NDArray[np.int64]

    @property
    def kind(self) -> InputKind:
        return kind_of(self.source)

    def __len__(self) -> int:
        return len(self.rows)

    def digest(self, index: int) -> bytes:
        return self.source.digest(int(self.rows[index]))

    def load(self, index: int) -> Any:
        return self.source.load(int(self.rows[index]))

    def grey_extent(self, index: int) -> Extent | None:
        if not isinstance(self.source, GreyImages):
            return None
        return self.source.grey_extent(int(self.rows[index]))

    @property
    def schema(self) -> Any:
        return getattr(self.source, "schema", None)

    @property
    def category_columns(self) -> Any:
        return getattr(self.source, "category_columns", frozenset())

    def with_scale(self, scale: GreyScale) -> Images:
        if not isinstance(self.source, GreyImages):
            return self
        return replace(self, source=self.source.with_scale(scale))


@dataclass(frozen=True, eq=False)
class Dataset:
    """N labelled inputs, in an order that depends only on the data.

    Attributes:
        name: Short name for messages and the report.
        classes: Class names; ``labels`` index into them.
        labels: Shape ``(N,)``, int64.
        inputs: Pictures, texts or sounds, or precomputed features of shape ``(N, d)``, float32.
        test: Shape ``(N,)``, bool: the data's own test split, or the part that was held out as one
            (see ``with_test_part``); all false without either.
            Test rows never belong to a client; everyone is scored on them.
        sites: Shape ``(N,)``, str: where each input was acquired; ``None`` if unknown.
        keys: A stable, human-readable name per input (a relative path, an index).
        groups: Shape ``(N,)``, str: which inputs belong together (a patient's, a slide's, an
            author's) and are never parted between training and scoring; ``None`` if each
            stands for itself.
        notes: What to tell the user about the data, a sentence each.
        left_aside: What lies in the data and is not among its inputs, sorted by path; see
            ``left_aside.told``.
        test_is_held_out: Whether ``test`` was drawn from data that has no test split of its own.
        unseen: Shape ``(N,)``, bool: the inputs of the holdout-site, whatever their split
            (see ``withhold_site``); ``None`` if all sites take part.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    inputs: Items | NDArray[np.float32]
    test: NDArray[np.bool_]
    sites: NDArray[np.str_] | None
    keys: Sequence[str]
    groups: NDArray[np.str_] | None = None
    unseen: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    test_is_held_out: bool = False
    left_aside: tuple[LeftAside, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def unit(self) -> str:
        """What one input is called: ``image``, ``text``, ``recording`` or ``row``."""
        return kind_of(self.inputs).unit

    @property
    def training(self) -> NDArray[np.int64]:
        """Rows that clients may hold, rising: neither of the test split nor of an unseen site."""
        return np.flatnonzero(~self.test if self.unseen is None else ~(self.test | self.unseen))

    @property
    def tested(self) -> NDArray[np.int64]:
        """Rows of the test split or part, rising, except those of an unseen site."""
        return np.flatnonzero(self.test if self.unseen is None else self.test & ~self.unseen)

    @property
    def withheld(self) -> NDArray[np.int64]:
        """Rows of the unseen site, rising; none where all sites take part."""
        return np.empty(0, np.int64) if self.unseen is None else np.flatnonzero(self.unseen)

    def subset(self, rows: NDArray[np.int64]) -> Dataset:
        """Return the inputs at ``rows``, in that order; the class list stays whole."""
        inputs = (
            self.inputs[rows] if isinstance(self.inputs, np.ndarray) else _Subset(self.inputs, rows)
        )
        return replace(
            self,
            labels=self.labels[rows],
            inputs=inputs,
            test=self.test[rows],
            sites=None if self.sites is None else self.sites[rows],
            keys=[self.keys[row] for row in rows],
            groups=None if self.groups is None else self.groups[rows],
            unseen=None if self.unseen is None else self.unseen[rows],
        )
