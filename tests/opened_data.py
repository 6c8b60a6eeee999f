"""Data sets opened as a run opens them, and pictures to make them of."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from fedtl.data.dataset import Dataset
from fedtl.data.hospitals import HospitalsOptions
from fedtl.data.sources import open_dataset


def opened(spec: object) -> Dataset:
    return open_dataset(str(spec), seed=0, hospitals=HospitalsOptions(images=200, test_images=40))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(shade: int = 0) -> bytes:
    return encoded(Image.new("RGB", (5, 4), (shade, 0, 0)))
