"""Data sets opened as a run opens them, and pictures to make them of."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.sources import open_dataset


def opened(spec: object) -> Dataset:
    keys = {"hospitals_images": 200, "hospitals_test_images": 40, "hospitals_sites": 5}
    return open_dataset(RunConfig(data=str(spec), **keys))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(shade: int = 0) -> bytes:
    return encoded(Image.new("RGB", (5, 4), (shade, 0, 0)))
