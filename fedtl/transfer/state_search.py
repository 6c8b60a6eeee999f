"""The state dict of a network in whatever a training script saved around it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedtl.errors import UsageError

STEP_COUNTER = "num_batches_tracked"
"""A batch normalisation's step counter plays no part in evaluation, and some files lack it."""

# What scripts call the network itself; what they call anything else, such as an average of it, is
# only taken if it is alone.
_USUAL = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights")
_USUAL_PREFIXES = ("", "module.", "model.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.")
_DEEPEST = 4

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class FoundState:
    """A state dict.

    Attributes:
        state: Its tensors, by the network's keys.
        told: Where it was found, in a sentence; empty for the file as a whole.
    """

    state: State
    told: str


@dataclass(frozen=True, eq=False)
class _Candidate:
    entry: tuple[str, ...]
    prefix: str
    state: State

    @property
    def rank(self) -> tuple[int, int, int]:
        """How plainly it is the network, lowest first."""
        last = self.entry[-1] if self.entry else ""
        place = _USUAL.index(last) if last in _USUAL else len(_USUAL)
        named = 1 + place if self.entry else 0
        known = self.prefix in _USUAL_PREFIXES
        prefix = _USUAL_PREFIXES.index(self.prefix) if known else len(_USUAL_PREFIXES)
        return named, len(self.entry), prefix

    @property
    def plain(self) -> bool:
        """Whether its name says that it is the network itself."""
        return not self.entry or self.entry[-1] in _USUAL

    @property
    def told(self) -> str:
        """Where it lies, in words."""
        entry = f"in entry {'.'.join(self.entry)}" if self.entry else ""
        prefix = f"under keys that begin with {self.prefix}" if self.prefix else ""
        return ", ".join(filter(None, [entry, prefix]))


def find_state(
    content: Any,
    expected: Collection[str],
    *,
    source: str,
    renamed: Callable[[Mapping[str, Tensor]], State] = dict,
) -> FoundState:
    """Return the tensors of the one mapping whose keys, after one prefix, cover the network's.

    If none covers them, the one that comes nearest is returned: the caller says what it lacks.

    Args:
        content: What a file holds: mappings in mappings, tensors, and anything else.
        expected: The network's keys.
        source: What error messages call the file.
        renamed: Puts older names of keys into today's.

    Raises:
        UsageError: There are no tensors by name, or several mappings cover the network.
    """
    needed = [key for key in expected if not key.endswith(STEP_COUNTER)]
    mappings = [(entry, renamed(tensors)) for entry, tensors in _mappings(content, ())]
    if not mappings:
        raise UsageError(f"The {source} holds no state dict (names and tensors).")
    found = [
        _Candidate(entry, prefix, _below(tensors, prefix))
        for entry, tensors in mappings
        for prefix in _prefixes(tensors, needed)
        if all(prefix + key in tensors for key in needed)
    ]
    if not found:
        return FoundState(_nearest(mappings, needed), "")
    found.sort(key=lambda candidate: candidate.rank)
    best, others = found[0], found[1:]
    others = [other for other in others if not _same(best.state, other.state, needed)]
    if others and not (best.plain and best.prefix in _USUAL_PREFIXES):
        places = " and ".join(candidate.told for candidate in (best, *others))
        raise UsageError(
            f"The {source} holds the network more than once, {places}: save only the one that is "
            "meant."
        )
    told = f"{source}: the network lies {best.told or 'at the top'}"
    if others:
        told += "; not taken: what lies " + " and ".join(other.told for other in others)
    return FoundState(best.state, told if best.told or others else "")


def _mappings(content: Any, entry: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], State]]:
    """Yield every mapping that has tensors under names, with the names that lead to it."""
    if not isinstance(content, Mapping) or len(entry) > _DEEPEST:
        return
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield entry, tensors
    for key, value in content.items():
        if isinstance(key, str):
            yield from _mappings(value, (*entry, key))


def _prefixes(tensors: State, needed: Collection[str]) -> list[str]:
    """Return what may stand before each of the network's keys, sorted."""
    first = next(iter(needed))
    found = {key[: len(key) - len(first)] for key in tensors if key.endswith(first)}
    return sorted(prefix for prefix in found if not prefix or prefix.endswith("."))


def _below(tensors: State, prefix: str) -> State:
    size = len(prefix)
    return {key[size:]: value for key, value in tensors.items() if key.startswith(prefix)}


def _same(one: State, other: State, keys: Collection[str]) -> bool:
    return all(
        one[key].shape == other[key].shape and torch.equal(one[key], other[key]) for key in keys
    )


def _nearest(mappings: list[tuple[tuple[str, ...], State]], needed: Collection[str]) -> State:
    """Return the tensors that have the most of the network's keys, after the best prefix."""
    best: State = mappings[0][1]
    most = -1
    for _, tensors in mappings:
        prefixes = {*_USUAL_PREFIXES, *(p for key in needed for p in _prefixes(tensors, [key]))}
        for prefix in sorted(prefixes):
            count = sum(prefix + key in tensors for key in needed)
            below = _below(tensors, prefix)
            if (count, len(below)) > (most, len(best)) and below:
                best, most = below, count
    return best
