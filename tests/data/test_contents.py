"""A run goes on with the data and the backbone that it began with, by content, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_process import complaint, finished
from PIL import Image

from fedtl import compare, simulate


def _pictures(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(24):
        path = folder / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = np.array([200, 60, 60]) if number % 2 else np.array([60, 60, 200])
        pixels = np.clip(colour + rng.normal(0, 20, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def _embeddings(path: Path, *, seed: int = 0, labels_from: int = 0, sites: int = 3) -> Path:
    rng = np.random.default_rng(seed)
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    if seed:
        x[[7, 30]] = rng.normal(size=(2, 5))
    np.savez(path, x=x, y=(np.arange(60) + labels_from) % 2, site=np.arange(60) % sites)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return _pictures(tmp_path / "data")


def _repaint(data: Path) -> None:
    for name in ("cat/04.png", "dog/03.png"):
        Image.new("RGB", (24, 24), (9, 99, 9)).save(data / name)


def _break(data: Path) -> None:
    (data / "dog/05.png").write_bytes(b"no picture")


def _remove(data: Path) -> None:
    (data / "dog/05.png").unlink()
    (data / "cat/00.png").rename(data / "cat/zz.png")


def _relabel(data: Path) -> None:
    (data / "cat/02.png").rename(data / "cat/aside")
    (data / "dog/03.png").rename(data / "cat/02.png")
    (data / "cat/aside").rename(data / "dog/03.png")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_repaint, "2 files changed, first cat/04.png"),
        (_relabel, "2 files changed, first cat/02.png"),
        (_break, "1 file changed, first dog/05.png"),
        (_remove, "1 file is new, first cat/zz.png; 2 files are gone"),
    ],
)
def test_pictures_that_changed_are_named(
    change: Callable[[Path], None], told: str, pictures: Path, tmp_path: Path
) -> None:
    out, flags = tmp_path / "run", ["--strategy=fed3r", "--clients=2", "--engine=inline"]
    flags += [f"--data={pictures}", f"--cache={tmp_path / 'cache'}", "--test-fraction=0", "--quiet"]
    assert finished(simulate.main, *flags, f"--out={out}").exit_code == 0
    before = (out / "contents.npz").read_bytes()
    assert finished(simulate.main, "--resume", out, "--quiet").exit_code == 0
    change(pictures)
    said = complaint(simulate.main, "--resume", out, "--quiet", exit_code=1)
    assert said.startswith(f"The data is not what it was: {told}; a run goes on with")
    assert (out / "contents.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "2 rows changed, first 7"),
        ({"labels_from": 1}, "60 rows have other labels, first 0"),
        ({"sites": 4}, "45 rows have another site, group or split, first 3"),
    ],
)
def test_embeddings_that_changed_are_named(
    changes: dict[str, int], told: str, tmp_path: Path
) -> None:
    path = _embeddings(tmp_path / "x.npz")
    out, flags = tmp_path / "run", ["--strategy=fed3r", "--engine=inline", "--quiet"]
    flags += [f"--data=features:{path}", "--clients=2"]
    assert finished(simulate.main, *flags, f"--out={out}").exit_code == 0
    _embeddings(path, **changes)
    assert f"not what it was: {told};" in complaint(
        simulate.main, "--resume", out, "--quiet", exit_code=1
    )


def test_names_stay_secret_with_pseudonyms(tmp_path: Path) -> None:
    path = _embeddings(tmp_path / "x.npz")
    out, flags = tmp_path / "run", ["--strategy=fed3r", "--engine=inline", "--quiet"]
    flags += [f"--data=features:{path}", "--clients=2", "--pseudonyms"]
    assert finished(simulate.main, *flags, f"--out={out}").exit_code == 0
    _embeddings(path, seed=1)
    assert "2 rows changed; a run" in complaint(
        simulate.main, "--resume", out, "--quiet", exit_code=1
    )


def test_another_backbone_is_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torchvision.models import squeezenet1_1

    weights = tmp_path / "weights.pth"
    torch.save(squeezenet1_1().state_dict(), weights)
    out, flags = tmp_path / "run", ["--strategy=fed3r", "--engine=inline", "--quiet"]
    flags += [f"--data={pictures}", f"--weights={weights}", "--backbone=squeezenet1_1"]
    flags += ["--image-size=32", "--no-cache", "--clients=2"]
    assert finished(simulate.main, *flags, f"--out={out}").exit_code == 0
    torch.save(squeezenet1_1().state_dict(), weights)
    said = complaint(simulate.main, "--resume", out, "--quiet", exit_code=1)
    assert said.startswith(
        "The backbone is not what it was: its weights or its preprocessing differ (squeezenet1_1, "
        f"weights {weights}, 32 pixels); a run goes on"
    )
    moved = tmp_path / "moved.pth"
    torch.save(squeezenet1_1().state_dict(), moved)
    said = complaint(simulate.main, "--resume", out, "--quiet", "--weights", moved, exit_code=1)
    assert "it was squeezenet1_1" in said and f"is squeezenet1_1, weights {moved}" in said
    said = complaint(simulate.main, "--resume", out, "--backbone", "resnet18")
    assert "--backbone cannot be given" in said


def test_a_comparison_goes_on_with_the_same_data(tmp_path: Path) -> None:
    path = _embeddings(tmp_path / "x.npz")
    out, flags = tmp_path / "compared", ["--strategies=fed3r,fedncm", "--seeds=2", "--quiet"]
    flags += [f"--data=features:{path}", "--clients=2", "--engine=inline"]
    assert finished(compare.main, *flags, f"--out={out}").exit_code == 0
    next((out / "cells").glob("*.json")).unlink()
    assert finished(compare.main, "--resume", out, "--quiet").exit_code == 0
    next((out / "cells").glob("*.json")).unlink()
    _embeddings(path, seed=1)
    assert "2 rows changed" in complaint(compare.main, "--resume", out, "--quiet", exit_code=1)


def test_a_damaged_file_of_contents_is_told(tmp_path: Path) -> None:
    path = _embeddings(tmp_path / "x.npz")
    out, flags = tmp_path / "run", ["--strategy=fed3r", "--engine=inline", "--quiet"]
    flags += [f"--data=features:{path}", "--clients=2"]
    assert finished(simulate.main, *flags, f"--out={out}").exit_code == 0
    (out / "contents.npz").write_bytes(b"PK")
    said = complaint(simulate.main, "--resume", out, "--quiet", exit_code=1)
    assert said.startswith(f"{out / 'contents.npz'} has 2 bytes, but the checkpoint counted ")
    # Without a checkpoint nothing vouches for the file but itself.
    shutil.rmtree(out / "checkpoint")
    said = complaint(simulate.main, "--resume", out, "--quiet", exit_code=1)
    assert said == f"{out / 'contents.npz'} is damaged, so the run cannot go on."
