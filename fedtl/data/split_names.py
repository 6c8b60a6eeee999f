"""Names of splits as data sets have them: Training, train_images, valid, dev, test1."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TRAINING, VALIDATION, TEST, UNLABELLED = "train", "validation", "test", "unlabelled"

_WORDS = {
    TRAINING: "train training trainings trn trainval entrainement entrenamiento treinamento",
    VALIDATION: "val valid validation validate validierung crossval dev devel development",
    TEST: "test testing tests tst eval evaluation evaluate holdout teste",
    UNLABELLED: "pred predict prediction predictions unlabelled unlabeled unlabel",
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}
# Written as one word with the split: trainset, testdata, valimages.
_ROLES |= {
    word + what: role
    for word, role in list(_ROLES.items())
    for what in ("set", "data", "dir", "folder", "images", "imgs", "split", "daten", "bilder")
}
# As the Medical Segmentation Decathlon calls them.
_WHOLE = {"imagestr": TRAINING, "imagests": TEST}
# Words of a name: camelCase parts them, and all that is no letter.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

EXAMPLES = "train, val (valid, dev) and test, in any case and as part of a name"
"""What splits are called, for messages."""


def words_of(name: str) -> set[str]:
    """Return the words of a name, without accents and case: train and images of TrainImages."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return {word.lower() for word in _WORD.findall(plain)}


def says_unlabelled(name: str) -> bool:
    """Return whether a folder's name says that its pictures have no label."""
    return any(word.startswith("unlabel") for word in words_of(name))


@lru_cache(maxsize=4096)
def split_role(name: str) -> str:
    """Return which split a name says: train, validation, test or unlabelled; empty for none.

    The name is one of a split if one of its words is, as in ``Training``, ``seg_train`` or
    ``train2017``, and none says another split. ``train_val`` is training data.
    """
    if name.lower() in _WHOLE:
        return _WHOLE[name.lower()]
    roles = {_ROLES[word] for word in words_of(name) if word in _ROLES}
    if roles == {TRAINING, VALIDATION}:
        return TRAINING
    return roles.pop() if len(roles) == 1 else ""


def test_rows(splits: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which rows are scored: those of the test split, or without any of the validation's.

    Args:
        splits: What each row's split is: see ``split_role``.
    """
    test: NDArray[np.bool_] = splits == TEST
    return test if test.any() else splits == VALIDATION
