"""The inputs in a folder or archive: what its files are read as."""

from __future__ import annotations

from fedtl.data.dataset import Items
from fedtl.data.file_store import FileStore
from fedtl.data.input_kinds import SOUND, TEXT


def file_items(store: FileStore) -> Items:
    """Return a store's files as inputs of the kind that they are of.

    Raises:
        UsageError: The package that decodes them is not installed.
    """
    if store.kind == SOUND:
        from fedtl.data.sound import FileSounds

        return FileSounds(store)
    if store.kind == TEXT:
        from fedtl.data.texts import FileTexts

        return FileTexts(store)
    from fedtl.data.file_images import FileImages

    return FileImages(store)
