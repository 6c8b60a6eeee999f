"""Inputs of ``predict``: files in any folders, and rows of tables."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtl.data.input_kinds import SOUND, TABLE_ROW, TEXT, InputKind
from fedtl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedtl.data.rows import Rows
    from fedtl.federation.classifier import Classifier

    Named = tuple[list[str], NDArray[np.float32]]

EMBEDDINGS = "features:"


def extract_given(
    classifier: Classifier, arguments: Sequence[str], *, quiet: bool
) -> tuple[str, Named]:
    """Return what an input is called, and names and features of those that can be read.

    It warns of the others.
    """
    import numpy as np
    from rich.console import Console

    from fedtl.data.pillow_warnings import doubts
    from fedtl.observers.progress import RunProgress
    from fedtl.transfer.extraction import extract_features
    from fedtl.wording import count_of, printable

    backbone = classifier.backbone()
    kind = backbone.preprocessing.kind
    given = GivenItems.found(classifier, kind, arguments)
    console = Console(stderr=True)
    with RunProgress(console, quiet=quiet or not console.is_terminal) as progress:
        features = extract_features(
            given,
            backbone,
            cache=None,
            precision=classifier.config.precision,
            device="auto",
            on_progress=progress.features,
        )
    for index, reason in features.unreadable:
        name = printable(given.names[index])
        print(f"warning: {name} cannot be read and is skipped: {reason}", file=sys.stderr)
    if told := doubts():
        print(f"warning: {told}", file=sys.stderr)
    skipped = np.array([index for index, _ in features.unreadable], np.int64)
    if len(skipped) == len(given):
        counted = count_of(len(given), kind.unit)
        raise UsageError(f"There is nothing to classify: of {counted}, none can be read.")
    kept = np.setdiff1d(np.arange(len(given)), skipped)
    return kind.unit, ([given.names[index] for index in kept], features.array[kept])


@dataclass(frozen=True)
class GivenItems:
    """Inputs by name, from files in any folders: see :class:`fedtl.data.dataset.Items`.

    Attributes:
        kind: What they are read as.
        names: One for each.
        readers: Returns each of them, decoded.
    """

    kind: InputKind
    names: list[str]
    readers: list[Callable[[], Any]]

    @classmethod
    def found(cls, classifier: Classifier, kind: InputKind, arguments: Sequence[str]) -> GivenItems:
        """Return the named files and all inputs in the named folders and archives, in order.

        Raises:
            UsageError: Something is not there, or of another kind.
        """
        from fedtl.data.file_store import is_archive, open_file_store
        from fedtl.data.left_aside import told
        from fedtl.kinds import TABLES

        found = cls(kind, [], [])
        decode = _decoder(classifier, kind)
        for argument in arguments:
            if argument.startswith(EMBEDDINGS):
                raise UsageError(
                    f"{classifier.run} was trained on {kind.unit}s, so it takes {kind.unit}s, "
                    f"folders and archives, not {argument}."
                )
            path = Path(argument).expanduser()
            # Path.exists would raise where a folder above may not be entered.
            if not os.path.exists(path):  # noqa: PTH110
                if kind == TABLE_ROW:
                    raise UsageError(f"{argument} does not exist; a table is expected.")
                article = {"image": "an image", "text": "a file of a text or a table of texts"}.get(
                    kind.unit, f"a {kind.unit}"
                )
                raise UsageError(
                    f"{argument} does not exist; {article}, or a folder or archive (.zip, .tar) of "
                    f"{kind.unit}s is expected."
                )
            if (path.is_dir() or is_archive(path)) and kind != TABLE_ROW:
                store = open_file_store(path, kind)
                aside = told(store.left_aside)
                if not store.paths:
                    holds = f" ({aside})" if aside else ""
                    raise UsageError(f"{argument} holds no {kind.unit}s{holds}.")
                for told_of in filter(
                    None, (f"{argument}: {aside}" if aside else "", *store.notes)
                ):
                    print(f"warning: {told_of}", file=sys.stderr)
                found.names.extend(f"{path}/{member}" for member in store.paths)
                found.readers.extend(
                    partial(_decoded, decode, partial(store.read, at))
                    for at in range(len(store.paths))
                )
            elif kind == TEXT and path.suffix.lower() in TABLES:
                rows = _texts_of_table(classifier, path)
                found.names.extend(f"{path.name}:{row + 1}" for row, _ in rows)
                found.readers.extend(partial(str, text) for _, text in rows)
            elif kind == TABLE_ROW:
                table = _rows_of_table(classifier, path)
                found.names.extend(f"{path.name}:{row + 1}" for row in range(len(table)))
                found.readers.extend(partial(table.load, row) for row in range(len(table)))
            else:
                found.names.append(str(path))
                found.readers.append(partial(_decoded, decode, partial(_read_file, path)))
        return found

    def __len__(self) -> int:
        return len(self.names)

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the name, which is enough: no cache outlives this process."""
        return hashlib.sha256(os.fsencode(self.names[index])).digest()

    def load(self, index: int) -> Any:
        """Return the decoded input."""
        return self.readers[index]()


def _decoder(classifier: Classifier, kind: InputKind) -> Callable[[bytes], Any]:
    """Return what decodes a file's bytes."""
    if kind == TEXT:
        from fedtl.data.texts import decoded_text

        return decoded_text
    if kind == SOUND:
        from fedtl.data.sound import decoded

        return decoded
    from fedtl.data.decoding import decode_rgb

    return partial(decode_rgb, scale=classifier.trained.scale)


def _decoded(decode: Callable[[bytes], Any], read: Callable[[], bytes]) -> Any:
    return decode(read())


def _rows_of_table(classifier: Classifier, path: Path) -> Rows:
    """Return the rows of a table that need not have labels, by the columns of the run."""
    from fedtl.data.rows import Rows, column_counts, rows_by_schema
    from fedtl.data.table_file import read_table
    from fedtl.kinds import TABLES
    from fedtl.preparation.agreed_schema import fit_notes

    if path.suffix.lower() not in TABLES:
        raise UsageError(
            f"{classifier.run} was trained on rows of a table, so it takes a table "
            f"({', '.join(TABLES)}), not {path}."
        )
    schema = classifier.trained.schema
    assert schema is not None
    columns, notes = rows_by_schema(path, read_table(path), schema)
    rows = Rows(columns, schema)
    for note in (*notes, *fit_notes(schema, column_counts(rows, range(len(rows))), path.name)):
        print(f"warning: {note}", file=sys.stderr)
    return rows


def _texts_of_table(classifier: Classifier, path: Path) -> list[tuple[int, str]]:
    """Return the texts of a table that need not have labels, each with its row's number."""
    from fedtl.data.table_columns import columns_of
    from fedtl.data.table_file import read_table

    table = read_table(path)
    options = dict(classifier.config.options)
    asked = {"text": str(options.get("text-column", ""))}
    columns = columns_of(path, list(table), asked, labelled=False)
    return [(row, text) for row, text in enumerate(table[columns.text]) if text is not None]


def _read_file(path: Path) -> bytes:
    from fedtl.data.budget import MOST_FILE_BYTES
    from fedtl.errors import UnreadableImageError

    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise UnreadableImageError(f"larger than {MOST_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error
