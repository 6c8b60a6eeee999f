"""The forms of a model's weights, and the file of each."""

from __future__ import annotations

from typing import Literal

Target = Literal["torch", "safetensors", "torchscript", "onnx"]


def weights_file(target: Target) -> str:
    """Return the name of the file."""
    return {
        "torch": "model.pt",
        "safetensors": "model.safetensors",
        "torchscript": "model.torchscript.pt",
        "onnx": "model.onnx",
    }[target]
