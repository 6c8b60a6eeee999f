"""Recordings as inputs: WAV, FLAC and what else libsndfile decodes, one a file."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.data.file_store import FileStore, file_digest
from fedtl.data.input_kinds import SOUND
from fedtl.errors import UnreadableImageError
from fedtl.registry import needed

# Of all channels: about half a gigabyte while they are decoded.
_MOST_SAMPLES = 2**26


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording.

    Attributes:
        samples: Shape ``(n,)``, float32, from -1 to 1, n > 0; the mean of all channels.
        rate: Samples a second.
    """

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


class FileSounds:
    """Recordings that are decoded from their files when they are asked for.

    Raises:
        UsageError: The package that decodes them is not installed.
    """

    kind = SOUND

    def __init__(self, store: FileStore) -> None:
        needed("soundfile", extra="speech", by="sound")
        self._store = store

    def __len__(self) -> int:
        return len(self._store.paths)

    def digest(self, index: int) -> bytes:
        """See :func:`~fedtl.data.file_store.file_digest`."""
        return file_digest(self._store, index)

    def load(self, index: int) -> Sound:
        """Return the recording; see :func:`decoded`."""
        return decoded(self._store.read(index))


def decoded(content: bytes) -> Sound:
    """Return the recording of a file.

    Raises:
        UnreadableImageError: It is damaged, empty, too long, or has values that are not finite.
    """
    soundfile = needed("soundfile", extra="speech", by="sound")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.frames * file.channels > _MOST_SAMPLES:
                raise UnreadableImageError(f"more than {_MOST_SAMPLES:,} samples")
            samples = file.read(dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError, EOFError) as error:
        reason = str(error).rpartition(": ")[2].strip().rstrip(".")
        raise UnreadableImageError(f"no sound that can be decoded ({reason})") from error
    mono = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] != 1 else samples[:, 0]
    if not len(mono):
        raise UnreadableImageError("a recording without a single sample")
    if not np.isfinite(mono).all():
        raise UnreadableImageError("samples that are NaN or infinite")
    return Sound(np.ascontiguousarray(mono), rate)
