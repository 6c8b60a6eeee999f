"""The model card: its figures against the run's files, its front matter as YAML, hostile names."""

from __future__ import annotations

import csv
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedtl import RunConfig, RunResult, simulate
from fedtl.exported_folder import export
from fedtl.report import model_card
from fedtl.results.versions import versions

CLASSES = ["ant | bee", "<b>wasp</b>", "*fly* [x](y)"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, str]:
    """A run on embeddings with names that are markup, and its card."""
    folder, rng = tmp_path_factory.mktemp("card"), np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (rng.normal(size=(90, 5)) + 1.5 * np.eye(3, 5)[y]).astype(np.float32)
    sites = np.array(["Nord | Süd", "`Ost`", "West"])[np.arange(90) // 3 % 3]
    np.savez(folder / "a-set.npz", x=x, y=np.array(CLASSES)[y], site=sites)
    run = simulate(
        data=f"features:{folder / 'a-set.npz'}",
        strategy="fedavg",
        rounds=3,
        partition="natural",
        engine="inline",
        out=str(folder / "run"),
        progress=False,
    )
    assert run.path is not None
    made, _ = export(run.path, "torch", None, trust=False)
    return run, (made / "MODEL_CARD.md").read_text(encoding="utf-8")


def _rows(card: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, as Markdown separates them."""
    section = card.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip() for cell in row] for row in cells if "---" not in row[0]]


def test_the_front_matter_is_yaml(told: tuple[RunResult, str]) -> None:
    yaml = pytest.importorskip("yaml")
    run, card = told
    assert card.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert found["license"] == "unknown"
    assert found["pipeline_tag"] == "tabular-classification"
    assert {"federated-learning", "fedavg"} <= set(found["tags"])
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["name"] == "a-set.npz"
    value = result["metrics"][0]["value"]
    assert value == pytest.approx(run.figures["federated"]["accuracy"], abs=1e-4)


def test_scores_are_the_runs(told: tuple[RunResult, str]) -> None:
    run, card = told
    rows = {row[0].partition(":")[0]: row[1:] for row in _rows(card, "Scores")}
    for way in ("local_only", "federated", "centralised"):
        scores = run.figures[way]
        accuracy, interval, balanced, worst, _ = rows[way.replace("_", "-")]
        assert accuracy == f"{100 * scores['accuracy']:.1f}%"
        low, high = (f"{100 * scores[f'accuracy_{end}']:.1f}" for end in ("low", "high"))
        assert interval == f"{low} to {high}"
        assert balanced == f"{100 * scores['balanced_accuracy']:.1f}%"
        assert worst == f"{100 * scores['worst_client_accuracy']:.1f}%"


def test_clients_and_what_left_them(told: tuple[RunResult, str]) -> None:
    run, card = told
    assert run.path is not None
    with (run.path / "clients.csv").open(encoding="utf-8") as file:
        clients = list(csv.DictReader(file))
    rows = _rows(card, "Data and clients")[1:]
    assert [row[1] for row in rows] == [row["examples"] for row in clients]
    assert [row[5] for row in rows] == [row["federated_verdict"] for row in clients]
    assert {row[0] for row in rows} == {r"Nord \| Süd", r"\`Ost\`", "West"}
    with (run.path / "egress.csv").open(encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    left = _rows(card, "What left each site")[1:]
    assert sum(int(row[3]) for row in left) == len(records)
    assert {row[1] for row in left} == {row["record"] for row in records}


def test_names_are_text_and_no_markup(told: tuple[RunResult, str]) -> None:
    _, card = told
    body = card.split("\n---\n", 1)[1]
    assert r"\*fly\* \[x\](y)" in body
    assert r"ant \| bee" in body
    assert "<b>" not in body.replace(r"\<b\>", "")


def test_what_is_known_of_the_backbone_and_the_run(told: tuple[RunResult, str]) -> None:
    run, card = told
    assert run.path is not None
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["backbone_fingerprint"] in card
    assert summary["head_sha256"] in card
    assert "ask whoever did." in card
    assert "The clients were simulated on one machine." in card
    assert str(Path(run.config.data.partition(":")[2]).parent) not in card


def test_adapters_are_told() -> None:
    config = RunConfig(backbone="mobilenet_v2", train_from="features.11", adapter="lora", rank=4)
    told = "the network from features.11 on, by lora adapters of rank 4"
    assert model_card._trained(config) == told
    assert model_card._trained(RunConfig(backbone="mobilenet_v2")) == ""


@pytest.mark.parametrize(
    ("backbone", "package"),
    [("hf:place", "transformers"), ("timm:resnet18", "timm"), ("open_clip:a@b", "open_clip_torch")],
)
def test_versions_tell_what_made_the_network(backbone: str, package: str) -> None:
    pytest.importorskip(package.removesuffix("_torch"))
    assert versions(backbone)[package] == version(package)
    assert package not in versions("mobilenet_v2")


def test_with_pseudonyms_no_name_is_told(tmp_path: Path) -> None:
    run = simulate(
        strategy="fed3r",
        clients=2,
        engine="inline",
        hospitals_images=120,
        hospitals_test_images=20,
        hospitals_size=32,
        pseudonyms=True,
        no_cache=True,
        out=str(tmp_path / "run"),
        progress=False,
    )
    assert run.path is not None
    made, told = export(run.path, "torch", None, trust=False)
    card = (made / "MODEL_CARD.md").read_text()
    assert [row[0] for row in _rows(card, "Data and clients")[1:]] == ["client-0", "client-1"]
    assert "Alder" not in card
    assert "Birch" not in card
    assert 'license: "apache-2.0"' in card
    assert told == []
