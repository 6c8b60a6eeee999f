"""A user's own backbone and head: one file each, with options; a distribution brings backbones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import complaint, finished
from installed import installed
from numpy.typing import NDArray

import fedtl
from fedtl import compare, simulate
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping
from fedtl.errors import UsageError
from fedtl.kinds import KINDS
from fedtl.transfer.backbones import backbone_of
from fedtl.transfer.boundary import cut_backbone
from fedtl.transfer.heads import head_of

GRID = '''
import torch
from torch import nn

from fedtl.options import Integer, Options
from fedtl.transfer.backbones.base import Family
from fedtl.transfer.preprocessing import Preprocessing


class Grid(Family):
    """Mean colours of a picture's cells."""

    options = Options("grid", cells=Integer(2, "Cells a side.", low=1, high=8))

    def load(self):
        cells = self.options.cells
        network = nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Flatten())
        size = self.config.image_size or 16
        prepared = Preprocessing(size, None, "BILINEAR", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return self.frozen(network, 3 * cells**2, prepared)
'''

DEEP = '''
from dataclasses import dataclass

from fedtl.options import Integer, Options
from fedtl.transfer.heads.base import BaseHead, products


@dataclass(frozen=True)
class Deep(BaseHead):
    """A linear head through a narrow layer."""

    options = Options("deep", width=Integer(4, "Width of the layer.", low=1, high=64))

    @property
    def shapes(self):
        width = self.options.width
        return {"in.weight": (width, self.features), "out.weight": (self.classes, width)}

    def logits(self, parameters, x):
        narrow = products(x, parameters["in.weight"].transpose(1, 2))
        return products(narrow, parameters["out.weight"].transpose(1, 2))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    monkeypatch.setattr(fedtl, "launch_folder", str(tmp_path))
    yield tmp_path
    sys.path[:] = path
    for name in {"grid", "deep"} & (sys.modules.keys() - modules):
        del sys.modules[name]


QUICK = ("--clients", 3, "--rounds", 2, "--engine", "inline", "--hospitals-images", 60)
QUICK = (*QUICK, "--hospitals-test-images", 16, "--hospitals-size", 16, "--no-cache")


def run(*flags: object) -> dict[str, Any]:
    end = finished(simulate.main, "--json", *QUICK, *flags)
    assert end.exit_code == 0, end.stderr
    told: dict[str, Any] = json.loads(end.stdout)
    return told


def test_a_backbone_is_one_file(folder: Path) -> None:
    Path("grid.py").write_text(GRID)
    own = ("--backbone", "grid:Grid", "--strategy", "fed3r")
    two, three = run(*own, "--out", "two"), run(*own, "--grid-cells", 3, "--out", "three")
    again = run("--config", "three/config.toml", "--out", "again")
    assert again["head_sha256"] == three["head_sha256"] != two["head_sha256"]
    picture = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    config = RunConfig(backbone="grid:Grid", grid_cells=4)
    backbone = backbone_of(config)
    found = backbone.forward(backbone.preprocess(picture)[None])
    cells: NDArray[np.float64] = picture.reshape(4, 4, 4, 4, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(found[0].reshape(3, 4, 4), cells.transpose(2, 0, 1), atol=1e-6)
    flags = ("--strategies", "fed3r", "--seeds", 1, "--backbone", "grid:Grid")
    said = complaint(compare.main, *QUICK[:2], *flags, "--grid-cells", "2,3")
    assert "grid-cells cannot vary: it has one value for the whole comparison" in said
    with pytest.raises(UsageError, match="but the head, which is trained anyway; leave train-fro"):
        cut_backbone(config.replace(train_from="1"))


def test_a_backbones_fingerprint_covers_its_options_and_its_file(folder: Path) -> None:
    Path("grid.py").write_text(GRID)
    config = RunConfig(backbone="grid:Grid")
    first = backbone_of(config).fingerprint
    assert backbone_of(config).fingerprint == first
    assert backbone_of(config.replace(grid_cells=3)).fingerprint != first
    assert backbone_of(config.replace(image_size=24)).fingerprint != first
    del sys.modules["grid"]
    Path("grid.py").write_text(GRID.replace("nn.Flatten()", "nn.Flatten(), nn.Sigmoid()"))
    assert backbone_of(config).fingerprint != first


def test_a_head_is_one_file(folder: Path) -> None:
    Path("deep.py").write_text(DEEP)
    own = ("--head", "deep:Deep", "--set", "deep-width=3")
    told = run(*own, "--out", "own")
    with_more = run("--head", "deep:Deep", "--out", "more")
    assert told["head_sha256"] != with_more["head_sha256"]
    config = from_mapping({"head": "deep:Deep", "deep-width": 3}, where="a test")
    head = head_of(config, features=5, classes=4)
    assert dict(head.shapes) == {"in.weight": (3, 5), "out.weight": (4, 3)}
    draws = torch.Generator().manual_seed(0)
    one, other = torch.randn(1, 3, 5, generator=draws), torch.randn(1, 4, 3, generator=draws)
    x = torch.randn(1, 6, 5, generator=draws)
    logits = head.logits({"in.weight": one, "out.weight": other}, x)
    torch.testing.assert_close(logits[0], x[0] @ one[0].T @ other[0].T)
    said = complaint(simulate.main, *QUICK, "--hidden-units", 8, "--head", "deep:Deep")
    assert said.startswith("hidden-units is an option of mlp, and the run has head = deep:Deep")


def test_an_installed_distribution_brings_backbones(folder: Path) -> None:
    points = "[fedtl.backbones]\ncells = grid:Grid\nfedtl-tiny = grid:Grid\n"
    with installed(folder / "site", "grid", GRID, points):
        told = run("--backbone", "cells", "--grid-cells", 3, "--strategy", "fed3r", "--out", "run")
        assert told["clients"] == 3
        assert "grid-cells = 3" in Path("run/config.toml").read_text()
        assert KINDS["backbone"].load("fedtl-tiny").__module__.endswith("backbones.fedtl_tiny")
        assert "--grid-cells" in finished(simulate.main, "--help", "cells").stdout


def test_help_on_networks(folder: Path) -> None:
    Path("grid.py").write_text(GRID)
    Path("deep.py").write_text(DEEP)
    assert "--hidden-units" in finished(simulate.main, "--help", "mlp").stdout
    assert finished(simulate.main, "-h", "fedtl-tiny").stdout.startswith("--backbone fedtl-tiny")
    assert "--grid-cells" in finished(simulate.main, "-h", "grid:Grid").stdout
    assert "--deep-width" in finished(simulate.main, "-h", "deep:Deep").stdout
    said = complaint(simulate.main, *QUICK, "--backbone=resnet81")
    assert "Unknown backbone 'resnet81'" in said
    for other in ("timm:", "hf:", "open_clip:", "wordllama", "log-mel", "tabular", "module:Class"):
        assert other in said
    assert "Unknown backbone 'gird:Grid'" in complaint(
        simulate.main, *QUICK, "--backbone", "gird:Grid"
    )
