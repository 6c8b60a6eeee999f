"""``--backbone log-mel``: how loud a recording is in bands of pitch; nothing is learnt."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtl.errors import UsageError
from fedtl.options import Integer, Options
from fedtl.transfer.backbones.base import DEFAULT, Backbone, Family
from fedtl.transfer.sound_preparation import SoundPreparation

_WINDOW_SECONDS, _STEP_SECONDS = 0.025, 0.010
# The logarithm of silence: 60 dB below a full-scale sine.
_FLOOR = 1e-6
_LONGEST_SECONDS = 600.0
_RULE = "log-mel statistics 1"


class LogMel(Family):
    """Mean and deviation of log-mel energies, and their means over equal parts of the time."""

    options = Options(
        "log-mel",
        rate=Integer(
            16_000, "Samples a second that recordings are brought to.", low=4000, high=48_000
        ),
        bands=Integer(40, "Bands of pitch, evenly spaced on the mel scale.", low=4, high=256),
        segments=Integer(4, "Equal parts of the time with means of their own.", low=0, high=64),
    )

    def load(self) -> Backbone:
        """See :class:`Family`."""
        if self.config.weights != DEFAULT:
            raise UsageError("backbone = log-mel has no weights; leave weights out.")
        rate, bands, segments = self.options.rate, self.options.bands, self.options.segments
        if rate % 8:
            raise UsageError(f"log-mel-rate = {rate} must be a multiple of 8, such as 16000.")
        network = LogMelStatistics(rate, bands, segments)
        preparation = SoundPreparation(rate, _LONGEST_SECONDS, cut=False)
        size = bands * (2 + segments)
        return self.frozen(network, size, preparation, rule=f"{_RULE} {rate} {bands} {segments}")


BACKBONE = LogMel


class LogMelStatistics(nn.Module):
    """From samples to statistics of log-mel energies.

    The power spectrum of windows of 25 ms, a Hann window every 10 ms, is summed in triangular bands
    (O'Shaughnessy's mel scale, 2595 log₁₀(1 + f / 700)).

    Args:
        rate: Samples a second.
        bands: How many bands.
        segments: How many equal parts of the time have means of their own.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, bands: int, segments: int) -> None:
        super().__init__()
        self._size, self._step = int(_WINDOW_SECONDS * rate), int(_STEP_SECONDS * rate)
        self._points = 1 << (self._size - 1).bit_length()
        self._segments = segments
        window = torch.hann_window(self._size, dtype=torch.float64)
        self.register_buffer("window", (window / window.sum()).float())
        self.register_buffer("filters", torch.from_numpy(mel_filters(rate, bands, self._points)))

    def forward(self, samples: Tensor, counts: Tensor) -> Tensor:
        """Return statistics, shape ``(n, bands · (2 + segments))``.

        Args:
            samples: Shape ``(n, length)``.
            counts: How many of them each recording has, shape ``(n,)``.
        """
        frames = samples.unfold(1, self._size, self._step) * self.window
        power = torch.fft.rfft(frames.float(), n=self._points).abs().square()
        energies = torch.log(_FLOOR + power @ self.filters.float())
        # Frames of silence that only fills up do not count; one frame always does.
        held = ((counts - self._size) // self._step + 1).clamp(min=1)
        place = torch.arange(energies.shape[1])[None, :]
        mean = weighted_mean(energies, (place < held[:, None]).float())
        deviation = weighted_mean(
            (energies - mean[:, None]).square(), (place < held[:, None]).float()
        )
        found = [mean, deviation.sqrt()]
        for part in range(self._segments):
            first = (held * part) // self._segments
            last = torch.maximum((held * (part + 1)) // self._segments, first + 1)
            inside = (place >= first[:, None]) & (place < last[:, None])
            found.append(weighted_mean(energies, inside.float()))
        return torch.cat(found, 1)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean over frames: values ``(n, t, b)``, weight ``(n, t)``."""
    return torch.bmm(weight.unsqueeze(1), values).squeeze(1) / weight.sum(1, keepdim=True)


def mel_filters(rate: int, bands: int, points: int) -> NDArray[np.float32]:
    """Return triangular filters on the mel scale, shape ``(points / 2 + 1, bands)``."""

    def mel(frequency: float) -> float:
        return float(2595 * np.log10(1 + frequency / 700))

    edges = 700 * (10 ** (np.linspace(mel(0), mel(rate / 2), bands + 2) / 2595) - 1)
    at = np.arange(points // 2 + 1)[:, None] * rate / points
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    found: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return found.astype(np.float32)
