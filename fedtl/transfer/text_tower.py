"""The half of a network of pictures and texts that reads texts, and a head made of class names.

A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
2021: an image belongs to the class whose name, put into a sentence, has the vector nearest to the
image's. No example is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedtl.errors import UsageError

PROMPT = "a photo of a {}"
"""The sentence of a class if the run names none."""

_PLACE, _BETWEEN = "{}", "|"


@dataclass(frozen=True, eq=False)
class TextTower:
    """The half of a network that reads texts.

    Attributes:
        vector: From a text to its vector, shape ``(d,)``, beside those of the other half's inputs.
        scale: What the network multiplies cosines of vectors with to make logits of them.
    """

    vector: Callable[[str], Tensor]
    scale: float


@dataclass(frozen=True, eq=False)
class ClassTexts:
    """What a text tower makes of K class names.

    Attributes:
        vectors: Each of length 1, shape ``(K, d)``, float64.
        scale: See :class:`TextTower`.
    """

    vectors: NDArray[np.float64]
    scale: float

    @property
    def head(self) -> dict[str, NDArray[np.float64]]:
        """The zero-shot head, on features of length 1: ``weight`` ``(K, d)``, ``bias`` ``(K,)``."""
        return {"weight": self.scale * self.vectors, "bias": np.zeros(len(self.vectors))}

    @property
    def sent(self) -> dict[str, NDArray[np.float32]]:
        """The zero-shot head as clients are sent it."""
        return {name: value.astype(np.float32) for name, value in self.head.items()}


def class_texts(tower: TextTower, classes: Sequence[str], prompts: str) -> ClassTexts:
    """Return the vectors of class names.

    Underscores of a name are spaces. With several prompts a class's vector is the mean of theirs,
    each of length 1 before and the mean after (Radford et al., section 3.1.4).

    Args:
        tower: Reads them.
        classes: The names.
        prompts: See :func:`prompts_of`.

    Raises:
        UsageError: A prompt has no place for the name, or the tower's vectors are no numbers.
    """
    sentences = prompts_of(prompts)
    vectors = np.stack(
        [
            _unit(np.mean([_unit(_told(tower, sentence, name)) for sentence in sentences], axis=0))
            for name in classes
        ]
    )
    if not np.isfinite(vectors).all():
        raise UsageError(
            "The backbone's text tower gives no finite vectors for the names of the classes; use "
            "another one, or init = 'none' and no prompt."
        )
    return ClassTexts(vectors, tower.scale)


def prompts_of(prompts: str) -> list[str]:
    """Return the sentences of a prompt, which ``|`` separates; the default's if it is empty.

    Raises:
        UsageError: One of them has no ``{}``, where the class's name stands, or more than one.
    """
    found = [sentence.strip() for sentence in (prompts or PROMPT).split(_BETWEEN)]
    for sentence in found:
        if sentence.count(_PLACE) != 1:
            raise UsageError(
                f"prompt = {prompts!r}: {sentence!r} should have {_PLACE} once, where the name of "
                f"the class stands, such as {PROMPT!r}; {_BETWEEN} separates several."
            )
    return found


def _told(tower: TextTower, sentence: str, name: str) -> NDArray[np.float64]:
    text = sentence.replace(_PLACE, name.replace("_", " ").strip())
    return tower.vector(text).double().numpy()


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit
