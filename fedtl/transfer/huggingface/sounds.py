"""Networks for recordings: wav2vec 2.0, HuBERT and kin, and Whisper's encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedtl.data.input_kinds import SOUND, InputKind
from fedtl.data.sound import Sound
from fedtl.errors import UnreadableImageError, UsageError
from fedtl.transfer.huggingface.model_place import ModelPlace
from fedtl.transfer.huggingface.texts import MEAN, token_vectors
from fedtl.transfer.sound_preparation import SoundPreparation, resampled

_LONGEST_SECONDS = 60.0
ALL = "all"


def sound_network(place: ModelPlace) -> tuple[nn.Module, Any, str]:
    """Return a network for recordings, what prepares them, and how vectors are pooled, as a name.

    Raises:
        UsageError: The model cannot be read, or not be pooled so.
    """
    if place.pool not in ("", MEAN, ALL):
        raise UsageError(f"pool = {place.pool!r} is not known; it is {MEAN} or {ALL} (layers).")
    processor = place.processor("AutoFeatureExtractor")
    configuration = place.configuration()
    whole = place.model()
    rate = int(processor.sampling_rate)
    if getattr(configuration, "is_encoder_decoder", False):
        spectra = ProcessedSounds(processor, processor.to_json_string(), rate)
        encoder = SpectrumEncoder(whole.get_encoder(), place.layer, place.pool)
        return encoder, spectra, place.pool or MEAN
    prepared = SoundPreparation(
        rate, _LONGEST_SECONDS, cut=False, normalised=bool(processor.do_normalize), exact=True
    )
    return SampleEncoder(whole, place.layer, place.pool), prepared, place.pool or MEAN


class SampleEncoder(nn.Module):
    """From samples to the mean vector of a recording; recordings of a batch have one length.

    Args:
        model: Gives a vector for every 20 ms or so.
        layer: Whose vectors are taken; ``None`` for what the model gives.
        pool: ``all`` takes every layer's mean, one after the other.
    """

    def __init__(self, model: nn.Module, layer: int | None, pool: str) -> None:
        super().__init__()
        self.model, self._layer, self._pool = model, layer, pool

    def forward(self, samples: Tensor, counts: Tensor) -> Tensor:
        """Return vectors, shape ``(n, d)``, of samples of shape ``(n, length)``."""
        if self._pool == ALL:
            layers = self.model(input_values=samples, output_hidden_states=True).hidden_states
            return torch.cat([layer.mean(1) for layer in layers], 1)
        return token_vectors(self.model, self._layer, input_values=samples).mean(1)


@dataclass(frozen=True, eq=False)
class ProcessedSounds:
    """Recordings as spectra of one length, as Whisper's feature extractor prepares them.

    Attributes:
        processor: The feature extractor.
        told: All that determines what it does, as JSON.
        rate: Samples a second.
    """

    processor: Any
    told: str
    rate: int

    @property
    def kind(self) -> InputKind:
        """Recordings."""
        return SOUND

    @property
    def one_shape(self) -> bool:
        """All are brought to one length."""
        return True

    def prepare(self, item: Sound) -> NDArray[np.float32]:
        """Return a spectrum, and below it how many of its columns the recording fills.

        Raises:
            UnreadableImageError: The recording is longer than what the network hears.
        """
        longest = self.processor.n_samples / self.rate
        if item.seconds > longest:
            raise UnreadableImageError(f"longer than {longest:g} seconds")
        samples = resampled(item.samples, item.rate, self.rate)
        found = self.processor(samples, sampling_rate=self.rate, return_tensors="np")
        spectrum = np.asarray(found["input_features"][0], np.float32)
        filled = np.zeros((1, spectrum.shape[1]), np.float32)
        filled[0, : max(1, -(-len(samples) // self.processor.hop_length))] = 1
        return np.concatenate([spectrum, filled])

    def padded_length(self, prepared: NDArray[Any]) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return 0

    def batch_size(self, length: int, *, on_cores: bool) -> int:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return 1 if on_cores else 16

    def collate(
        self, prepared: Sequence[NDArray[np.float32]], length: int, size: int
    ) -> tuple[Tensor, ...]:
        """Return spectra, ``(size, bands, columns)``, and 1 for each column that is filled."""
        whole = np.zeros((size, *prepared[0].shape), np.float32)
        whole[len(prepared) :, -1, 0] = 1
        for row, found in enumerate(prepared):
            whole[row] = found
        return torch.from_numpy(whole[:, :-1].copy()), torch.from_numpy(whole[:, -1].copy())

    def identity(self) -> Mapping[str, Any]:
        """See :class:`~fedtl.transfer.preparation.Preparation`."""
        return {"processor": self.told, "rate": self.rate}


class SpectrumEncoder(nn.Module):
    """From spectra to the mean vector of that part of the time which a recording fills.

    Args:
        model: An encoder that gives a vector for some columns each.
        layer: Whose vectors are taken; ``None`` for what the model gives.
        pool: ``all`` takes every layer's mean, one after the other.
    """

    def __init__(self, model: nn.Module, layer: int | None, pool: str) -> None:
        super().__init__()
        self.model, self._layer, self._pool = model, layer, pool

    def forward(self, spectra: Tensor, filled: Tensor) -> Tensor:
        """Return vectors, shape ``(n, d)``.

        Args:
            spectra: Shape ``(n, bands, columns)``.
            filled: 1 for a column that the recording fills, shape ``(n, columns)``.
        """
        if self._pool == ALL:
            layers = self.model(spectra, output_hidden_states=True).hidden_states
            return torch.cat([_mean(layer, filled) for layer in layers], 1)
        return _mean(token_vectors(self.model, self._layer, input_features=spectra), filled)


def _mean(vectors: Tensor, filled: Tensor) -> Tensor:
    columns = filled.shape[1] // vectors.shape[1]
    weight = filled.reshape(filled.shape[0], vectors.shape[1], columns).amax(2)
    found: Tensor = torch.bmm(weight.unsqueeze(1), vectors).squeeze(1) / weight.sum(1, keepdim=True)
    return found
