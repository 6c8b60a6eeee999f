"""``backbone = auto``: what the data are decides, the same in every way to run, and it is said."""

from __future__ import annotations

import csv
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from federation_of_sites import grid_of_sites
from flwr.app import Context, RecordDict
from in_process import complaint, finished
from PIL import Image
from tiny_encoders import WORDS

import fedtl
from fedtl import compare, describe, flower_app, simulate
from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.federation.run_identity import RunIdentity
from fedtl.observers.run_folder import RunFolder
from fedtl.runs.dealt_site import prepare_dealt

KINDS = {
    "pictures": "fedtl-tiny",
    "texts": "wordllama",
    "recordings": "log-mel",
    "rows of tables": "tabular",
}
RUN = ("--engine=inline", "--partition=natural", "--no-cache", "--strategy=fed3r")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few inputs of each kind, of two classes at two sites."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data")
    lines: dict[str, list[list[Any]]] = {
        "texts": [["site", "text", "label"]],
        "rows of tables": [["site", "age", "crp", "label"]],
    }
    for number in range(48):
        site, label = f"s{number % 2}", number // 2 % 2
        place = Path(site, str(label))
        for kind in ("pictures", "recordings"):
            (root / kind / place).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / place / f"{number}.png")
        soundfile.write(
            root / "recordings" / place / f"{number}.wav", rng.normal(0, 0.1, 2000), 8000
        )
        lines["texts"].append([site, " ".join(rng.choice(WORDS.split(), 8)), label])
        lines["rows of tables"].append([site, rng.integers(20, 90), round(rng.normal(), 3), label])
    found = {kind: root / kind for kind in ("pictures", "recordings")}
    for kind, rows in lines.items():
        found[kind] = root / f"{kind.replace(' ', '_')}.csv"
        with found[kind].open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return found


def _config(out: Path) -> dict[str, Any]:
    return tomllib.loads((out / "config.toml").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_data_are_decides_and_is_said(
    kind: str, data: dict[str, Path], tmp_path: Path
) -> None:
    taken = KINDS[kind]
    said = f"backbone = {taken}, as the data are {kind}"
    flags = ("--data", data[kind])
    assert said in finished(describe.main, *flags).stdout.splitlines()
    heads = []
    for name, named in (("auto", ()), ("named", ("--backbone", taken))):
        end = finished(simulate.main, *RUN, *flags, *named, "--out", tmp_path / name)
        assert end.exit_code == 0, end.stderr
        assert (said in end.stderr.splitlines()) == (name == "auto")
        assert _config(tmp_path / name) == _config(tmp_path / "auto") | {
            "out": str(tmp_path / name)
        }
        heads.append((tmp_path / name / "head.safetensors").read_bytes())
    assert heads[0] == heads[1]
    assert _config(tmp_path / "auto")["backbone"] == taken
    assert f">{taken}<" in (tmp_path / "auto" / "report.html").read_text()
    # The folder vouches for it, and is read by its own configuration.
    assert fedtl.RunResult.load(tmp_path / "auto").config.backbone == taken


def test_from_python_and_in_a_comparison(data: dict[str, Path], tmp_path: Path) -> None:
    keys: dict[str, Any] = {"data": str(data["texts"]), "partition": "natural", "no_cache": True}
    keys |= {"engine": "inline"}
    alone = fedtl.simulate(**keys, strategy="fed3r", out=str(tmp_path / "run"), progress=False)
    assert alone.config.backbone == "wordllama"
    out = tmp_path / "compared"
    chosen = f"--data {data['texts']} --partition natural --strategies fed3r,fedncm --seeds 1"
    chosen += f" --no-cache --engine inline --out {out}"
    end = finished(compare.main, *chosen.split())
    assert end.exit_code == 0, end.stderr
    assert "backbone = wordllama, as the data are texts" in end.stderr.splitlines()
    assert json.loads((out / "comparison.json").read_text())["config"]["backbone"] == "wordllama"
    cells = sorted((out / "cells").glob("*.toml"))
    assert [tomllib.loads(cell.read_text())["backbone"] for cell in cells] == ["wordllama"] * 2
    # What is done is not done again, and what is not is done with the same.
    before = {cell.name: cell.stat().st_mtime_ns for cell in (out / "cells").iterdir()}
    lost = out / "cells" / "seed=0_fedncm.json"
    content = json.loads(lost.read_text())
    lost.unlink()
    assert finished(compare.main, "--resume", out).exit_code == 0
    kept = out / "cells" / "seed=0_fed3r.json"
    assert kept.stat().st_mtime_ns == before[kept.name]
    again = json.loads(lost.read_text())
    assert again["config"] == content["config"]


@pytest.mark.parametrize("lost", ["config.toml", "run.json", ""])
def test_a_run_that_ended_while_it_was_settled_goes_on(
    lost: str, data: dict[str, Path], tmp_path: Path
) -> None:
    """The process ends before a file is written anew; ``run.json`` is the first of the two."""
    flags = (*RUN, "--data", data["rows of tables"], "--random-features", 20)
    assert finished(simulate.main, *flags, "--out", tmp_path / "whole").exit_code == 0
    write = RunFolder.write

    def ending(folder: RunFolder, name: str, content: Any) -> None:
        again = name in ("run.json", "config.toml") and (folder.path / name).exists()
        if (again and name == lost) or (not lost and name == "partition.json"):
            os._exit(9)
        write(folder, name, content)

    out = tmp_path / "ended"
    if not (child := os.fork()):
        RunFolder.write = ending  # type: ignore[method-assign]
        finished(simulate.main, *flags, "--out", out)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert _config(out)["backbone"] == ("auto" if lost else "tabular")
    # Options wait with it for what it comes to.
    assert _config(out)["random-features"] == 20
    assert RunIdentity.read(out) is not None
    end = finished(simulate.main, "--resume", out)
    assert end.exit_code == 0, end.stderr
    assert _config(out) == _config(tmp_path / "whole") | {"out": str(out)}
    heads = [(place / "head.safetensors").read_bytes() for place in (out, tmp_path / "whole")]
    assert heads[0] == heads[1]


def test_an_option_of_another_backbone_than_is_taken_is_told(
    data: dict[str, Path], tmp_path: Path
) -> None:
    flags = (*RUN, "--data", data["texts"], "--random-features", 20, "--out", tmp_path / "run")
    end = finished(simulate.main, *flags)
    assert "random-features = 20 (backbone = wordllama) has no effect" in end.stderr
    assert "random-features" not in _config(tmp_path / "run")
    refused = complaint(simulate.main, *flags, "--backbone=wordllama")
    assert "random-features is an option of tabular" in refused


def test_embeddings_take_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "e.npz", x=rng.normal(size=(60, 4)), y=np.arange(60) % 2)
    flags = ("--engine=inline", "--clients=2", "--strategy=fed3r", "--out", tmp_path / "run")
    end = finished(simulate.main, "--data", f"features:{tmp_path / 'e.npz'}", *flags)
    assert end.exit_code == 0 and "backbone" not in end.stderr
    assert _config(tmp_path / "run")["backbone"] == "auto"


def test_in_flowers_runtimes_it_is_the_one_for_pictures_or_is_refused(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(
        data=str(data["texts"]), partition="natural", no_cache=True, out=str(tmp_path / "run")
    )
    context = Context(1, 1, {"partition-id": 0, "num-partitions": 2}, RecordDict(), {})
    with pytest.raises(UsageError, match=r"holds texts, but .* choose another: --backbone wordl"):
        prepare_dealt(config, context)
    # The server, which sees no data, writes down what all take.
    monkeypatch.setattr("fedtl.runs.run.Run.result", lambda run: None)
    grid = grid_of_sites(config, tmp_path, tmp_path / "cache", {})
    context = Context(1, 1, {}, RecordDict(), config.to_mapping())
    flower_app.serve(grid, context)
    assert _config(tmp_path / "run")["backbone"] == "fedtl-tiny"
