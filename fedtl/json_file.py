"""JSON files: what JSON can hold, and safe reading of damaged or forged files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtl.errors import FedtlError

MOST_BYTES = 8 * 2**20
"""Far more than any such file of a run needs; parsed data takes up to 30 times as much."""


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """Return what a JSON file holds.

    Raises:
        FedtlError: It cannot be read, is too large, nested too deeply, or not JSON.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise FedtlError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > most_bytes:
        raise FedtlError(
            f"{path} is larger than the {most_bytes:,} bytes that such a file may have: it is "
            "damaged, or another file was put in its place."
        )
    return parse_json(content, str(path))


def parse_json(content: str | bytes, where: str) -> Any:
    """Return what a JSON text holds.

    Args:
        content: The text.
        where: What it came from, for messages.

    Raises:
        FedtlError: It is nested too deeply, or not JSON.
    """
    try:
        return json.loads(content)
    except MemoryError as error:
        raise FedtlError(f"{where} needs more memory than is available.") from error
    except RecursionError as error:
        raise FedtlError(f"{where} is damaged: it is nested too deeply.") from error
    except ValueError as error:
        raise FedtlError(f"{where} is damaged: it is not JSON ({error}).") from error


def without_nan(value: Any) -> Any:
    """Return JSON-like data with NaN, which JSON lacks, as null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
