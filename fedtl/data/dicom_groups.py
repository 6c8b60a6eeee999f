"""Which DICOM files are of one patient: ``--group-from PatientID``. The ids stay where they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fedtl.data.file_store import FileStore
from fedtl.data.image_formats import HEAD_BYTES, has_dicom, is_dicom, remedy_of
from fedtl.errors import UnreadableImageError, UsageError

PATIENT_ID = "PatientID"
"""The pattern that means it."""


def patient_groups(
    store: FileStore, rows: Sequence[int], sites: NDArray[np.str_] | None
) -> NDArray[np.str_]:
    """Return the patient of each file, numbered in the order of the files: ``patient 3``.

    Hospitals number their own patients, so that equal ids at two sites are two patients.

    Args:
        store: The files.
        rows: Which of them, shape ``(N,)``.
        sites: Site of each, shape ``(N,)``; ``None`` if there are none.

    Raises:
        UsageError: A file has no PatientID, or nothing is installed that reads it.
    """
    if not has_dicom():
        raise UsageError(f"--group-from {PATIENT_ID} needs the extra dicom: {remedy_of('.dcm')}")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        ids = list(pool.map(lambda row: _patient(store, row), rows))
    lacking = [row for row, found in zip(rows, ids, strict=True) if not found]
    if lacking:
        raise UsageError(
            f"--group-from {PATIENT_ID}: {len(lacking):,} of {len(rows):,} files have none, first "
            f"{store.paths[lacking[0]]}; give groups by names, or take these files out"
        )
    numbers: dict[tuple[str, str], int] = {}
    groups = []
    for at, found in enumerate(ids):
        site = "" if sites is None else str(sites[at])
        number = numbers.setdefault((site, found), len(numbers) + 1)
        groups.append(f"{site}/patient {number}" if site else f"patient {number}")
    return np.array(groups)


def patients_note(store: FileStore) -> str:
    """Return a sentence if the DICOM files could name the patients; else an empty text."""
    if not store.paths or not has_dicom() or not is_dicom(store.head(0, HEAD_BYTES)):
        return ""
    if not _patient(store, 0):
        return ""
    return (
        f"the DICOM files have a {PATIENT_ID}, but no groups are declared: --group-from "
        f"{PATIENT_ID} keeps a patient's pictures together, and the ids stay here"
    )


def _patient(store: FileStore, row: int) -> str:
    from fedtl.data.dicom import patient_of

    try:
        return patient_of(store.read(row))
    except UnreadableImageError:
        return ""
