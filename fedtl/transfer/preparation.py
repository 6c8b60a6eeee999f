"""What turns inputs of one kind into a network's batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.input_kinds import InputKind


@dataclass(frozen=True)
class BatchBudget:
    """How much shares a batch: enough to fill arithmetic units, and little enough for a cache.

    Features may depend on it in the last bit.

    Attributes:
        on_core: Of pixels, tokens or samples, in a batch on a CPU core.
        most_on_core: Inputs in it.
        on_gpu: The same on a GPU.
        most_on_gpu: Inputs in it.
    """

    on_core: int
    most_on_core: int
    on_gpu: int
    most_on_gpu: int

    def inputs(self, each: int, *, on_cores: bool) -> int:
        """Return how many inputs, of so much each, share a batch."""
        whole, most = (
            (self.on_core, self.most_on_core) if on_cores else (self.on_gpu, self.most_on_gpu)
        )
        return max(1, min(most, whole // each))


# Eight pictures of 224 x 224 on a core.
PIXELS = BatchBudget(8 * 224**2, 32, 64 * 224**2, 1024)


class Preparation(Protocol):
    """From inputs of one kind to a network's batches.

    An input's features may depend on that input alone. So batches have a few fixed shapes: every
    input is padded to a length that follows from itself, and only inputs of one length share a
    batch, whose size follows from the length.

    """

    @property
    def kind(self) -> InputKind:
        """What it takes."""
        ...

    @property
    def one_shape(self) -> bool:
        """Whether all inputs have the same shape once they are prepared."""
        ...

    def prepare(self, item: Any) -> NDArray[Any]:
        """Return one input as an array: a picture's pixels, a text's tokens, a sound's samples."""
        ...

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """Return to which length an input is padded; 0 for all that have one shape."""
        ...

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """Return how many inputs of a length share a batch, on a CPU core or on a GPU."""
        ...

    def collate(
        self, prepared: Sequence[NDArray[Any]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return what the network takes.

        Args:
            prepared: At most ``size`` inputs of one length.
            length: Theirs.
            size: The batch's; whatever fills it up has no effect on the others.
        """
        ...

    def identity(self) -> Mapping[str, Any]:
        """Return all that determines what the network is given, for JSON."""
        ...
