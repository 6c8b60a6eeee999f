"""``head.safetensors``: a trained head with all that is needed to use it, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.grey_scale import GreyScale
from fedtl.data.schema import Schema
from fedtl.errors import UsageError, first_line
from fedtl.json_file import parse_json
from fedtl.transfer.standardisation import Standardisation

_FORMAT = "fedtl-head-1"
_FACTS = "fedtl"
_MEAN, _SCALE = "standardisation.mean", "standardisation.scale"


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head as it is stored.

    Attributes:
        arrays: Its parameters by name.
        standardisation: Of the features it expects; ``None`` if it takes them raw.
        classes: Class names in label order.
        fingerprint: Of the backbone whose features it was trained on.
        class_counts: All clients' examples of each class; empty if unknown.
        temperature: Logits are divided by it before they become probabilities; it changes no
            prediction and is not part of the digest.
        scale: What is black and white in pictures of more than 8 bits.
        schema: What the columns of a table's rows are; ``None`` for other inputs.
    """

    arrays: Mapping[str, NDArray[np.floating]]
    standardisation: Standardisation | None
    classes: tuple[str, ...]
    fingerprint: str
    class_counts: tuple[int, ...] = ()
    temperature: float = 1.0
    scale: GreyScale = field(default_factory=GreyScale)
    schema: Schema | None = None

    def tensors(self) -> dict[str, NDArray[np.floating[Any]]]:
        """Return everything that determines predictions, by name."""
        tensors = dict(self.arrays)
        if self.standardisation is not None:
            tensors[_MEAN] = self.standardisation.mean
            tensors[_SCALE] = self.standardisation.scale
        return tensors

    def sha256(self) -> str:
        """Return the SHA-256 of names, dtypes, shapes and bytes of all tensors, by name."""
        digest = hashlib.sha256()
        for name, value in sorted(self.tensors().items()):
            digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        from safetensors.numpy import save

        facts: dict[str, Any] = {
            "format": _FORMAT,
            "classes": list(self.classes),
            "backbone-fingerprint": self.fingerprint,
            "class-counts": list(self.class_counts),
            "temperature": self.temperature,
        }
        if (scale := self.scale.to_mapping()) is not None:
            facts["grey-scale"] = scale
        if self.schema is not None:
            facts["table-schema"] = self.schema.to_mapping()
        # One entry: safetensors writes several in an order of chance, and bytes must not vary.
        content: bytes = save(
            {name: np.ascontiguousarray(value) for name, value in self.tensors().items()},
            metadata={_FACTS: json.dumps(facts)},
        )
        return content


def read_head(path: Path) -> TrainedHead:
    """Return the head that a file holds.

    Raises:
        UsageError: There is no such file, or it holds no head.
        FedtlError: What it says of the head is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
        raise UsageError(f"{path} is not a trained head: {first_line(error)}.") from error
    facts = parse_json(metadata.get(_FACTS, "{}"), str(path))
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise UsageError(f"{path} is not a trained head of the form {_FORMAT}.")
    columns = facts.get("table-schema")
    mean, scale = tensors.pop(_MEAN, None), tensors.pop(_SCALE, None)
    try:
        return TrainedHead(
            arrays=tensors,
            standardisation=None if mean is None else Standardisation(mean, scale),
            classes=tuple(map(str, facts["classes"])),
            fingerprint=str(facts["backbone-fingerprint"]),
            class_counts=tuple(map(int, facts.get("class-counts", ()))),
            temperature=float(facts.get("temperature", 1.0)),
            scale=GreyScale.of_mapping(facts.get("grey-scale")),
            schema=None if columns is None else Schema.of_mapping(columns),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is not a whole trained head: {error!r}.") from error
