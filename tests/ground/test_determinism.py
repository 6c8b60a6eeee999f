"""Derived randomness against SHA-256 and SplitMix64 spelled out in Python integers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedtl.determinism import derived_seed, generator, shuffle_keys

WORD = 2**64
GOLDEN_GAMMA = 0x9E3779B97F4A7C15

_names = st.tuples(
    st.integers(0, 2**63 - 1),
    st.text("abcdefghijklmnopqrstuvwxyz-/", min_size=1, max_size=12),
    st.lists(st.integers(0, 10**6), max_size=3).map(tuple),
)


def _splitmix64(state: int) -> int:
    mixed = (state + GOLDEN_GAMMA) % WORD
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % WORD
    return mixed ^ (mixed >> 31)


def _order(seed: int, purpose: str, stream: int, size: int) -> tuple[int, ...]:
    keys = shuffle_keys(seed, purpose, np.full(size, stream), np.arange(size))
    return tuple(np.argsort(keys).tolist())


def _chi_squared(counts: NDArray[np.int64]) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


def test_reference_gives_the_published_splitmix64_sequence() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [_splitmix64(1234567 + i * GOLDEN_GAMMA) for i in range(3)] == published


def test_shuffle_keys_are_splitmix64_of_seed_stream_and_position() -> None:
    root = int.from_bytes(hashlib.sha256(b"7\x1fshuffle/3/0").digest()[:8], "little")
    pairs = [(0, 0), (0, 1), (1, 0), (999_999, 12_345), (2**40, 2**33)]
    expected = [
        _splitmix64((_splitmix64(root ^ _splitmix64(stream)) + _splitmix64(position)) % WORD)
        for stream, position in pairs
    ]
    streams, positions = np.array(pairs, dtype=np.int64).T
    assert shuffle_keys(7, "shuffle/3/0", streams, positions).tolist() == expected


def test_derived_seed_is_the_sha256_of_its_name() -> None:
    digest = hashlib.sha256(b"42\x1fsample-clients\x1f3\x1f11").digest()
    assert derived_seed(42, "sample-clients", 3, 11) == int.from_bytes(digest[:8], "little")


@settings(deadline=None)
@given(_names, _names)
def test_different_names_give_different_seeds(
    one: tuple[int, str, tuple[int, ...]], other: tuple[int, str, tuple[int, ...]]
) -> None:
    assume(one != other)
    assert derived_seed(one[0], one[1], *one[2]) != derived_seed(other[0], other[1], *other[2])


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, "a", 2, 3), (1, "a", 23)), ((1, "a", 2), (1, "a2")), ((12, "a"), (1, "2a"))],
)
def test_names_are_not_run_together(
    one: tuple[int, str, *tuple[int, ...]], other: tuple[int, str, *tuple[int, ...]]
) -> None:
    assert derived_seed(*one) != derived_seed(*other)


def test_generator_repeats_itself_and_touches_no_global_state() -> None:
    before = (np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state())  # type: ignore[index]
    first = generator(5, "head-init", 1).standard_normal(100)
    again = generator(5, "head-init", 1).standard_normal(100)
    after = (np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state())  # type: ignore[index]
    np.testing.assert_array_equal(first, again)
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert not np.array_equal(first, generator(5, "head-init", 2).standard_normal(100))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2**62), min_size=1, max_size=8, unique=True),
    st.integers(1, 50),
    st.randoms(use_true_random=False),
)
def test_a_streams_keys_do_not_depend_on_its_company(
    streams: Sequence[int], size: int, shuffler: random.Random
) -> None:
    pairs = [(stream, position) for stream in streams for position in range(size)]
    shuffler.shuffle(pairs)
    together = shuffle_keys(
        3, "shuffle/1/0", np.array([s for s, _ in pairs]), np.array([p for _, p in pairs])
    )
    key_of = dict(zip(pairs, together.tolist(), strict=True))
    for stream in streams:
        alone = shuffle_keys(3, "shuffle/1/0", np.full(size, stream), np.arange(size))
        assert [key_of[stream, position] for position in range(size)] == alone.tolist()


def test_shuffles_differ_by_seed_purpose_and_stream() -> None:
    orders = {
        _order(seed, purpose, stream, 20)
        for seed in (0, 1)
        for purpose in ("shuffle/1/0", "shuffle/1/1", "shuffle/2/0")
        for stream in (0, 1)
    }
    assert len(orders) == 12


def test_shuffles_are_uniform_over_all_orders() -> None:
    streams, size = 24_000, 4
    keys = shuffle_keys(
        0, "shuffle/1/0", np.repeat(np.arange(streams), size), np.tile(np.arange(size), streams)
    ).reshape(streams, size)
    places = {order: place for place, order in enumerate(permutations(range(size)))}
    drawn = [places[tuple(order)] for order in keys.argsort(1).tolist()]
    # 23 degrees of freedom: a uniform draw exceeds 53 once in 2,500 seeds.
    assert _chi_squared(np.bincount(drawn, minlength=24)) < 53


def test_neighbouring_streams_are_shuffled_independently() -> None:
    streams, size = 36_000, 3
    keys = shuffle_keys(
        0, "shuffle/1/0", np.repeat(np.arange(streams), size), np.tile(np.arange(size), streams)
    ).reshape(streams, size)
    places = {order: place for place, order in enumerate(permutations(range(size)))}
    drawn = np.array([places[tuple(order)] for order in keys.argsort(1).tolist()])
    joint = np.bincount(drawn[:-1] * 6 + drawn[1:], minlength=36)
    # 35 degrees of freedom: independent uniform draws exceed 70 once in 2,500 seeds.
    assert _chi_squared(joint) < 70
