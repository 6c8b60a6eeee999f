"""A small network for texts that brings its own Python: no class of transformers' reads it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import save_file
from tiny_encoders import write_tiny

WIDTH = 6

_CONFIGURATION = """\
from transformers import PretrainedConfig


class PlainConfig(PretrainedConfig):
    model_type = "plain"

    def __init__(self, count=10, width=6, **other):
        self.count, self.width = count, width
        super().__init__(**other)
"""
_MODEL = """\
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_plain import PlainConfig
from .layers import doubled


class PlainModel(PreTrainedModel):
    config_class = PlainConfig

    def __init__(self, config):
        super().__init__(config)
        self.vectors = nn.Embedding(config.count, config.width)
        self.post_init()

    def get_input_embeddings(self):
        return self.vectors

    def forward(self, input_ids, attention_mask=None):
        return BaseModelOutput(last_hidden_state=doubled(self.vectors(input_ids)))
"""
_LAYERS = "def doubled(x):\n    return 2 * x\n"


def write_brought(folder: Path, kind: str = "plain") -> Path:
    """Write the network into ``folder/plain``: of each token, twice its vector; return that.

    Args:
        folder: Where to.
        kind: What it says it is: a process remembers what it has loaded by that.
    """
    place = write_tiny("bert", folder).rename(folder / "plain")
    tokens = json.loads((place / "tokenizer.json").read_text())["model"]["vocab"]
    count = len(tokens)
    settings = {"model_type": kind, "count": count, "width": WIDTH}
    classes = {
        "AutoConfig": "configuration_plain.PlainConfig",
        "AutoModel": "modeling_plain.PlainModel",
    }
    (place / "config.json").write_text(json.dumps({**settings, "auto_map": classes}))
    torch.manual_seed(4)
    weights = {"vectors.weight": torch.randn(count, WIDTH)}
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    (place / "configuration_plain.py").write_text(_CONFIGURATION.replace('"plain"', f'"{kind}"'))
    (place / "modeling_plain.py").write_text(_MODEL)
    (place / "layers.py").write_text(_LAYERS)
    return place


@cache
def _copies() -> TemporaryDirectory[str]:
    """A process imports from one folder: Python remembers where a package lies."""
    return TemporaryDirectory()


def keep_copies_apart(patch: pytest.MonkeyPatch) -> None:
    """Have transformers import Python that models bring from elsewhere than the home folder."""
    patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", _copies().name)
