"""The only source of randomness: generators and shuffles from a seed, a purpose and indices.

A run is a pure function of (config, seed, data), whatever the number of actors and the order in
which they finish. That holds because no draw comes from global state: every draw names what it is
for, and two draws with different names are independent.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def derived_seed(seed: int, purpose: str, *indices: int) -> int:
    """Return the 64-bit seed that belongs to ``(seed, purpose, indices)``.

    Args:
        seed: The run's seed.
        purpose: What the randomness is for, for example ``"shuffle"``.
        indices: Round, partition id and the like.
    """
    text = "\x1f".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return a fresh PCG64 generator that belongs to ``(seed, purpose, indices)`` alone."""
    return np.random.Generator(np.random.PCG64(derived_seed(seed, purpose, *indices)))


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the SplitMix64 output of each state (Steele, Lea & Flood, OOPSLA 2014)."""
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def shuffle_keys(
    seed: int, purpose: str, streams: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return one random 64-bit key per element, for shuffling many streams in one sort.

    Sorting a stream's elements by key permutes them uniformly (but for ties, of probability below
    n²/2⁶⁴). A key depends on its own stream and position only, so the permutation of a
    stream is the same whichever other streams are shuffled beside it: that is what lets an actor
    shuffle all its clients at once and a real site its single one.

    Args:
        seed: The run's seed.
        purpose: What the shuffle is for; include every index that is common to all streams.
        streams: Stream of each element, for example its partition id; shape ``(n,)``.
        positions: Position of each element within its stream; shape ``(n,)``.
    """
    root = np.uint64(derived_seed(seed, purpose))
    with np.errstate(over="ignore"):
        stream_state = _splitmix64(root ^ _splitmix64(streams.astype(np.uint64)))
        return _splitmix64(stream_state + _splitmix64(positions.astype(np.uint64)))
