"""What a run's data is, by content, so that it goes on with the same data or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.budget import check_zip_directory
from fedtl.data.dataset import Dataset
from fedtl.data.npz_file import check_array
from fedtl.errors import FedtlError

CONTENTS_FILE = "contents.npz"
_DIGEST_BYTES = 8
_COLUMNS = ("name", "content", "label", "place")
_MOST_ARRAYS = 10


@dataclass(frozen=True, eq=False)
class Contents:
    """Digests of a data set and of the backbone that sees it.

    Attributes:
        names: What each input is called, shape ``(n,)``; known for present data only.
        backbone: The backbone's fingerprint, weights and preprocessing included.
        backbone_told: The backbone as it was configured, in words; empty if that is not known.
        columns: Shape ``(n,)`` each, uint64, in the data's order: digests of each input's
            ``name``, ``content``, ``label`` (the class's name) and ``place`` (site, group, split).
    """

    names: list[str]
    backbone: str
    columns: dict[str, NDArray[np.uint64]]
    backbone_told: str = ""

    @classmethod
    def of(
        cls, dataset: Dataset, digests: Iterable[bytes], backbone: str, backbone_told: str = ""
    ) -> Contents:
        """Return those of a whole data set, whose inputs have these digests."""
        names = [str(key) for key in dataset.keys]
        classes = _hashed(dataset.classes)
        places = [dataset.test.astype(np.str_)]
        places += [kind for kind in (dataset.sites, dataset.groups) if kind is not None]
        if dataset.unseen is not None:
            places.append(dataset.unseen.astype(np.str_))
        columns = {
            "name": _hashed(names),
            "content": _numbers([digest[:_DIGEST_BYTES] for digest in digests]),
            "label": classes[dataset.labels],
            "place": _hashed("\0".join(row) for row in zip(*places, strict=True)),
        }
        return cls(names, backbone, columns, backbone_told)

    def to_bytes(self) -> bytes:
        """Return a .npz file."""
        file = io.BytesIO()
        facts = np.array(json.dumps({"backbone": self.backbone, "told": self.backbone_told}))
        arrays: dict[str, Any] = {"facts": facts, **self.columns}
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_file(cls, path: Path) -> Contents:
        """Return what :meth:`to_bytes` wrote, without names.

        Raises:
            FedtlError: The file is damaged.
        """
        try:
            check_zip_directory(path, most=_MOST_ARRAYS)
            with np.load(path, allow_pickle=False) as file:
                for name in ("facts", *_COLUMNS):
                    check_array(path, file, name)
                facts = json.loads(str(file["facts"]))
                columns = {name: file[name] for name in _COLUMNS}
                return cls([], facts["backbone"], columns, facts.get("told", ""))
        except Exception as error:  # numpy and zipfile raise many kinds
            raise FedtlError(f"{path} is damaged, so the run cannot go on.") from error

    def check_same(self, before: Contents, *, unit: str, named: bool) -> None:
        """Refuse to go on with other data than before.

        Args:
            before: As they were.
            unit: What one input is, such as ``"file"``.
            named: Whether the first of those that differ may be named.

        Raises:
            FedtlError: Something differs; the message says what, and of how many.
        """
        changes = self._changes(before, unit, named)
        if changes:
            raise FedtlError(
                f"The data is not what it was: {'; '.join(changes)}; a run goes on with the data "
                "it began with: put them back, or begin another run."
            )
        if self.backbone != before.backbone:
            now, then = self.backbone_told, before.backbone_told
            what = f"its weights or its preprocessing differ{f' ({now})' if now else ''}"
            if then and now != then:
                what = f"it was {then}, and is {now}"
            raise FedtlError(
                f"The backbone is not what it was: {what}; a run goes on with the backbone it "
                "began with: put it back, or begin another run."
            )

    def _changes(self, before: Contents, unit: str, named: bool) -> list[str]:
        now, then = self.columns, before.columns
        new = ~np.isin(now["name"], then["name"])
        gone = ~np.isin(then["name"], now["name"])
        changes = []
        if new.any():
            changes.append(self._told(new, unit, "is new", "are new", named))
        if gone.any():
            changes.append(_counted(int(gone.sum()), unit, "is gone", "are gone"))
        if changes:
            return changes
        if not np.array_equal(now["name"], then["name"]):
            return [f"its {unit}s have another order"]
        changed = now["content"] != then["content"]
        relabelled = (now["label"] != then["label"]) & ~changed
        moved = (now["place"] != then["place"]) & ~changed & ~relabelled
        for which, one, many in (
            (changed, "changed", "changed"),
            (relabelled, "has another label", "have other labels"),
            (moved, "has another site, group or split", "have another site, group or split"),
        ):
            if which.any():
                changes.append(self._told(which, unit, one, many, named))
        return changes

    def _told(self, which: NDArray[np.bool_], unit: str, one: str, many: str, named: bool) -> str:
        first = f", first {self.names[int(np.argmax(which))]}" if named else ""
        return _counted(int(which.sum()), unit, one, many) + first


def _counted(count: int, unit: str, one: str, many: str) -> str:
    return f"1 {unit} {one}" if count == 1 else f"{count:,} {unit}s {many}"


def _hashed(texts: Iterable[str]) -> NDArray[np.uint64]:
    return _numbers(
        [
            hashlib.blake2b(
                text.encode("utf-8", "surrogateescape"), digest_size=_DIGEST_BYTES
            ).digest()
            for text in texts
        ]
    )


def _numbers(digests: list[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
