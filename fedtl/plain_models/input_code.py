"""The lines of a script that turn a file into what the network takes, as fedtl does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fedtl.kinds import TABLES
from fedtl.transfer.backbones import Backbone
from fedtl.transfer.huggingface.pictures import ProcessedPictures
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.sound_preparation import SoundPreparation
from fedtl.transfer.text_preparation import TextPreparation

_SHORTEST_SECONDS = 0.25


@dataclass(frozen=True)
class InputCode:
    """How a script prepares an input.

    Attributes:
        template: Which of ``templates`` writes it.
        takes: What an argument of the script is, in a few words.
        names: Of the network's inputs.
        needs: Packages, beside NumPy.
        values: What the template fills in.
        files: Further files, by name.
        told: How it compares with fedtl's own preparation, a sentence.
    """

    template: str
    takes: str
    names: tuple[str, ...]
    needs: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    told: str = ""


def input_code(
    backbone: Backbone | None, batches: Sequence[Sequence[Tensor]], *, transforms: bool
) -> InputCode:
    """Return how a script prepares an input.

    Args:
        backbone: The run's; ``None`` for embeddings.
        batches: What the network takes, in several sizes.
        transforms: Whether torchvision's transforms may be used, and not Pillow and NumPy alone.
    """
    if backbone is None:
        return _arrays(("x",), batches, "It takes embeddings as the run did.")
    preparation = backbone.preprocessing
    if isinstance(preparation, Preprocessing):
        return _pictures(preparation, transforms=transforms)
    if isinstance(preparation, ProcessedPictures):
        return InputCode(
            "processed_pictures",
            "a picture",
            ("pixels",),
            ("pillow", "transformers"),
            files={"preprocessor_config.json": preparation.told.encode()},
            told="The script prepares pictures with the same processor of transformers'.",
        )
    if isinstance(preparation, TextPreparation):
        found = _texts(preparation, backbone)
        if found is not None:
            return found
    if isinstance(preparation, SoundPreparation):
        values = {
            "rate": preparation.rate,
            "normalised": preparation.normalised,
            "shortest": 0 if preparation.exact else int(_SHORTEST_SECONDS * preparation.rate),
            "longest": None if preparation.cut else preparation.longest,
        }
        told = "The script reads and resamples recordings as the run did."
        needs = ("scipy", "soundfile")
        return InputCode("sounds", "a recording", ("samples", "counts"), needs, values, told=told)
    count = len(batches[0])
    names = ("x",) if count == 1 else tuple(f"input_{at}" for at in range(count))
    told = (
        f"The script takes {preparation.kind.unit}s that are prepared already, as arrays: "
        "what prepares them belongs to the run's environment."
    )
    return _arrays(names, batches, told)


def _arrays(names: tuple[str, ...], batches: Sequence[Sequence[Tensor]], told: str) -> InputCode:
    """Return the code for arrays of the types and shapes of several batches."""
    wanted, listed = {}, []
    for name, *each in zip(names, *batches, strict=True):
        shapes = list(zip(*(one.shape for one in each), strict=True))
        free = [len(set(lengths)) > 1 for lengths in shapes]
        shape = tuple(None if any_ else own for own, any_ in zip(each[0].shape, free, strict=True))
        kind = str(each[0].numpy().dtype)
        wanted[name] = kind, shape
        lengths = ", ".join("any" if one is None else str(one) for one in shape)
        listed.append(f"{name} ({kind}, shape {lengths})")
    takes = f"a .npz file, as numpy.savez writes it, with {' and '.join(listed)}"
    return InputCode(
        "arrays", takes, names, values={"wanted": wanted}, told=f"{told} FILE is {takes}."
    )


def _pictures(preparation: Preprocessing, *, transforms: bool) -> InputCode:
    values = {
        "size": preparation.image_size,
        "resize": preparation.resize,
        "filter": preparation.interpolation,
        "mean": preparation.mean,
        "std": preparation.std,
    }
    told = (
        "The script gives the network the same pixels as the run for pictures of 8 bits a channel "
        "whose sides are not more than 16 to 1; it refuses grey pictures of more bits, and reads "
        "no DICOM."
    )
    if transforms:
        needs = ("pillow", "torchvision")
        return InputCode("pictures", "a picture", ("pixels",), needs, values, told=told)
    return InputCode("pixels", "a picture", ("pixels",), ("pillow",), values, told=told)


def _texts(preparation: TextPreparation, backbone: Backbone) -> InputCode | None:
    """Return the code for texts; ``None`` where the tokenizer has no file of its own."""
    to_json = getattr(preparation.tokens, "to_json", None)
    tokenizer = to_json() if to_json is not None else ""
    if not tokenizer:
        return None
    special = backbone.name != "wordllama"
    last = None if special else backbone.network.get_parameter("vectors").shape[0] - 1
    return InputCode(
        "texts",
        "a file of one text in UTF-8, such as a .txt",
        ("tokens", "there"),
        ("tokenizers",),
        {"special": special, "last": last, "tables": TABLES},
        {"tokenizer.json": tokenizer.encode()},
        "The script splits texts into tokens as the run did. It takes files of one text each, such "
        "as .txt, and refuses tables of texts.",
    )
