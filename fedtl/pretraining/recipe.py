"""Everything that determines the shipped weights, and the command line that says it."""

from __future__ import annotations

from dataclasses import dataclass, fields

FORMAT = 2


@dataclass(frozen=True)
class Recipe:
    """What ``python -m fedtl.pretrain`` does.

    Attributes:
        seed: Of every random draw.
        kinds: Kinds of things in the invented world.
        pictures: Pictures of each kind.
        steps: Optimiser steps of the residual network.
        batch: Pictures in a step, two of each kind; the network sees two views of each.
        learning_rate: Of AdamW, at its peak.
        leaves: Dead-leaves pictures that the dictionary is learnt from.
        patches: Patches of them.
        iterations: Of k-means.
    """

    seed: int = 0
    kinds: int = 8192
    pictures: int = 12
    steps: int = 15_000
    batch: int = 128
    learning_rate: float = 2e-3
    leaves: int = 3000
    patches: int = 150_000
    iterations: int = 20

    def command(self) -> str:
        """Return the command that rebuilds the weights."""
        options = " ".join(
            f"--{field.name.replace('_', '-')} {getattr(self, field.name)}"
            for field in fields(self)
        )
        return f"python -m fedtl.pretrain {options}"
