"""A network of OpenCLIP's, small and with seeded weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

NAME = "tiny"


def write_tiny_open_clip(folder: Path) -> tuple[Any, str]:
    """Return a network, and the backbone that names the file of its weights in a folder."""
    import open_clip

    blocks = {"layers": 2, "width": 64}
    sizes = {"image_size": 64, "patch_size": 16, "head_width": 32, **blocks}
    words = {"context_length": 77, "vocab_size": 49408, "heads": 2, **blocks}
    (folder / f"{NAME}.json").write_text(
        json.dumps({"embed_dim": 24, "vision_cfg": sizes, "text_cfg": words})
    )
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(1)
    network = open_clip.create_model(NAME, pretrained=None).eval()
    torch.save(network.state_dict(), folder / "w.pt")
    return network, f"open_clip:{NAME}@{folder / 'w.pt'}"
