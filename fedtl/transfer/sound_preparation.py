"""From recordings to samples at one rate, in batches of few fixed shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.data.input_kinds import SOUND, InputKind
from fedtl.data.sound import Sound
from fedtl.errors import UnreadableImageError
from fedtl.transfer.preparation import BatchBudget
from fedtl.transfer.text_preparation import padded

_SHORTEST_SECONDS = 0.25
# In seconds of sound.
_BATCH = BatchBudget(16, 16, 512, 256)


@dataclass(frozen=True)
class SoundPreparation:
    """Resample, and pad with silence.

    A recording is padded to the next of ¼, ⅜, ½, ¾, 1, 1½, … seconds, so that its features depend
    on no other recording.

    Attributes:
        rate: Samples a second, as the network takes them; a multiple of 8.
        longest: Seconds of the longest recording.
        cut: Whether longer ones are cut there, and not refused.
        normalised: Whether each recording gets mean 0 and variance 1, as many networks expect.
        exact: Whether nothing is padded, as some networks hear silence, too; every recording is
            then a batch of its own.
    """

    rate: int
    longest: float
    cut: bool
    normalised: bool = False
    exact: bool = False

    @property
    def kind(self) -> InputKind:
        """Recordings."""
        return SOUND

    @property
    def one_shape(self) -> bool:
        """Recordings differ in length."""
        return False

    def prepare(self, item: Sound) -> NDArray[np.float32]:
        """Return samples at the network's rate, shape ``(n,)``.

        Raises:
            UnreadableImageError: The recording is too long where recordings are not cut.
        """
        if item.seconds > self.longest and not self.cut:
            raise UnreadableImageError(f"longer than {self.longest:g} seconds")
        heard = item.samples[: math.ceil(self.longest * item.rate)]
        samples = resampled(heard, item.rate, self.rate)
        if self.normalised:
            centred = samples - samples.mean(dtype=np.float64).astype(np.float32)
            spread = math.sqrt(float(np.square(centred, dtype=np.float64).mean()) + 1e-7)
            samples = centred / np.float32(spread)
        return samples

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        if self.exact:
            return len(prepared)
        return padded(len(prepared), int(_SHORTEST_SECONDS * self.rate))

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        if self.exact:
            return 1
        return _BATCH.inputs(math.ceil(length / self.rate), on_cores=on_cores)

    def collate(
        self, prepared: Sequence[NDArray[np.float32]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return samples, shape ``(size, length)``, and how many each has, ``(size,)``, int64."""
        samples = np.zeros((size, length), np.float32)
        counts = np.full(size, length, np.int64)
        for row, found in enumerate(prepared):
            samples[row, : len(found)] = found
            counts[row] = len(found)
        return torch.from_numpy(samples), torch.from_numpy(counts)

    def identity(self) -> Mapping[str, Any]:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return {
            "rate": self.rate,
            "longest": self.longest,
            "cut": self.cut,
            "normalised": self.normalised,
            "exact": self.exact,
            "resampling": "polyphase, Kaiser 5.0",
        }


def resampled(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return a recording at another rate, by a polyphase filter (``scipy.signal.resample_poly``).

    Args:
        samples: Shape ``(n,)``.
        rate: Their samples a second.
        wanted: Those of what is returned.
    """
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    found = resample_poly(samples.astype(np.float64), wanted // common, rate // common)
    return np.asarray(found, np.float32)
