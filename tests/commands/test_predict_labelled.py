"""``predict --score`` and ``--case-mix``, against scikit-learn and Bayes' rule written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import complaint, finished
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from fedtl import predict, simulate

CLASSES = np.array(["a", "b", "c"])
MIXES = ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8])
_CENTRES = np.random.default_rng(1).normal(size=(3, 6))


def _draw(seed: int, count: int, mix: list[float]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=mix)
    features = _CENTRES[labels] + 1.2 * rng.normal(size=(count, 6))
    return features.astype(np.float32), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clients of three mixes, a client's own data, and new inputs like it."""
    folder = tmp_path_factory.mktemp("labelled")
    parts = [_draw(seed, 120, mix) for seed, mix in enumerate(MIXES)]
    np.savez(
        folder / "all.npz",
        x=np.concatenate([x for x, _ in parts]),
        y=CLASSES[np.concatenate([y for _, y in parts])],
        site=np.repeat(["s0", "s1", "s2"], 120),
    )
    for seed, name in ((7, "own"), (8, "new")):
        x, y = _draw(seed, 300, MIXES[0])
        np.savez(folder / f"{name}.npz", x=x, y=CLASSES[y])
    return folder


@pytest.fixture(scope="module", params=["fedavg", "fed3r", "fedcgs"])
def run(request: pytest.FixtureRequest, folder: Path) -> Path:
    out = folder / request.param
    flags = ("--partition", "natural", "--engine", "inline", "--quiet", "--out", out)
    data = ("--data", f"features:{folder / 'all.npz'}", "--strategy", request.param)
    assert finished(simulate.main, *data, *flags).exit_code == 0
    return out


def _scored(run: Path, folder: Path, *flags: object) -> dict[str, Any]:
    end = finished(predict.main, run, f"features:{folder / 'new.npz'}", "--score", "--json", *flags)
    assert end.exit_code == 0, end.stderr
    told: dict[str, Any] = json.loads(end.stdout)
    return told


def test_a_score_is_scikit_learns(run: Path, folder: Path) -> None:
    told, head = _scored(run, folder), load_file(run / "head.safetensors")
    x, y = _draw(8, 300, MIXES[0])
    if "standardisation.mean" in head:
        x = (x - head["standardisation.mean"]) * head["standardisation.scale"]
    guess = (x @ head["weight"].T.astype(np.float64) + head["bias"]).argmax(1)
    assert told["confusion"] == confusion_matrix(y, guess, labels=range(3)).tolist()
    assert told["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, guess))
    interval = binomtest(int((guess == y).sum()), 300).proportion_ci(method="wilson")
    assert told["accuracy_low"] == pytest.approx(interval.low)
    assert told["accuracy_high"] == pytest.approx(interval.high)


def test_a_case_mix_is_bayes_rule(run: Path, folder: Path, tmp_path: Path) -> None:
    """Log-odds move by the logarithm of how much likelier each class is at the client."""
    own = f"features:{folder / 'own.npz'}"
    table = tmp_path / "values.csv"
    inputs = (run, f"features:{folder / 'new.npz'}", "--case-mix", own, "--csv", table)
    assert finished(predict.main, *inputs).exit_code == 0
    told = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=(2, 3, 4))
    assert told.sum(1) == pytest.approx(np.ones(len(told)), abs=1e-6)
    head = load_file(run / "head.safetensors")
    x, y = _draw(8, 300, MIXES[0])
    own_x, own_y = _draw(7, 300, MIXES[0])
    if "standardisation.mean" in head:
        mean, scale = head["standardisation.mean"], head["standardisation.scale"]
        x, own_x = (x - mean) * scale, (own_x - mean) * scale
    at_client = np.bincount(own_y, minlength=3) + 0.5
    everyone = np.genfromtxt(run / "clients.csv", delimiter=",", skip_header=1)[:, -3:].sum(0) + 0.5
    ratio = (at_client / at_client.sum()) / (everyone / everyone.sum())

    def posterior(
        features: NDArray[np.float32], sharpness: float, weight: float
    ) -> NDArray[np.float64]:
        outputs = features @ head["weight"].T.astype(np.float64) + head["bias"]
        product = softmax(sharpness * outputs, axis=1) * ratio**weight
        return np.asarray(product / product.sum(1, keepdims=True))

    def surprise(sharpness: float, weight: float) -> float:
        chances = posterior(own_x, sharpness, weight)[np.arange(300), own_y]
        return -float(np.log(chances).sum())

    temperature = json.loads((run / "summary.json").read_text())["temperature"]
    found = []
    for weight in (1.0, 0.75, 0.5, 0.25, 0.0):
        if temperature is None:
            best = minimize_scalar(surprise, (0.01, 100), args=(weight,), bounds=(0.01, 100)).x
        else:
            best = 1 / temperature
        found.append((surprise(best, weight), best, weight))
    _, best, weight = min(found)
    # The grid's next T is a seventh away.
    off = min(
        np.abs(told - posterior(x, best * step, weight)).max()
        for step in np.geomspace(0.9, 1.11, 80)
    )
    assert off < 2e-3
    plain, mixed = _scored(run, folder), _scored(run, folder, "--case-mix", own)
    assert mixed["accuracy"] == (told.argmax(1) == y).mean()
    assert mixed["accuracy"] > plain["accuracy"] + 0.03
    assert mixed["calibration_error"] < 0.12


def test_classes_that_the_head_does_not_know_are_told(run: Path, folder: Path) -> None:
    x, y = _draw(8, 50, MIXES[0])
    names = CLASSES[y]
    names[:5] = "z"
    np.savez(folder / "strange.npz", x=x, y=names)
    end = finished(predict.main, run, f"features:{folder / 'strange.npz'}", "--score")
    assert "5 inputs of classes that the head does not know are left out: z" in end.stderr
    assert "of 45" in end.stdout
    np.savez(folder / "stranger.npz", x=x, y=np.full(50, "z"))
    said = complaint(predict.main, run, f"features:{folder / 'stranger.npz'}", "--score")
    assert "has none of the head's classes" in said
    assert "takes one INPUT" in complaint(predict.main, run, "features:a", "features:b", "--score")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures whose file names begin with one of six patients, and a table of them."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    lines = ["file,label,group"]
    for label, grey in (("dark", 60), ("light", 190)):
        for number in range(24):
            name = f"{label}/P{number % 6}-{number}.png"
            path = folder / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 60, (16, 16, 3))
            Image.fromarray((grey + noise).astype(np.uint8)).save(path)
            lines.append(f"{name},{label},{number % 3}")
    (folder / "table.csv").write_text("\n".join(lines))
    data = ("--data", folder / "data", "--clients", 2, "--partition", "iid", "--strategy", "fed3r")
    flags = ("--engine", "inline", "--quiet", "--cache", folder / "cache", "--out", folder / "run")
    assert finished(simulate.main, *data, *flags).exit_code == 0
    return folder


@pytest.mark.parametrize(
    ("flags", "groups"),
    [((), 48), (("--group-from", "P*-*"), 6), (("--labels", "table.csv"), 3)],
)
def test_pictures_that_belong_together_are_counted_together(
    pictures: Path, flags: tuple[str, ...], groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    end = finished(predict.main, "run", "data", "--score", "--json", *flags)
    assert end.exit_code == 0, end.stderr
    assert json.loads(end.stdout)["groups"] == groups
    warned = "names suggest that images belong together" in end.stderr
    assert warned == (not flags)


def test_how_labelled_data_are_read_is_refused_without_any(pictures: Path) -> None:
    flags = ("--group-from", "P*-*")
    said = complaint(predict.main, pictures / "run", pictures / "data", *flags)
    assert "they need --score or --case-mix" in said
