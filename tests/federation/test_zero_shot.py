"""Heads of the classes' names in a federation: a column of all that is shown, and a start."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from federation_of_sites import federate
from in_process import finished
from named_classes import BACKBONE
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from tiny_encoders import write_tiny
from unreported_run import Simulated, without_report

from fedtl import RunResult, compare, simulate
from fedtl.config import RunConfig
from fedtl.errors import FedtlError, UsageError
from fedtl.report.answer import verdict_of
from fedtl.report.tables import client_table, totals_table
from fedtl.report.unseen_section import unseen_plot
from fedtl.report.unseen_tables import unseen_table

CLASSES = ("blue", "green", "red")
PROMPT = "the {} | a {} day"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with more of one colour, a folder for each class."""
    root, draws = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for at, name in enumerate(CLASSES):
        (root / name).mkdir()
        for number in range(30):
            pixels = draws.integers(0, 200, (32, 32, 3))
            pixels[..., 2 - at] += 55
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_tiny("clip", folder)
    return folder / "clip"


def _run(pictures: Path, clip: Path, out: Path, **changes: Any) -> Simulated:
    plain: dict[str, Any] = {
        "clients": 3,
        "alpha": 2.0,
        "engine": "inline",
        "rounds": 1,
        "test_fraction": 0.25,
    }
    config = RunConfig(
        data=str(pictures),
        backbone=f"hf:{clip}",
        prompt=PROMPT,
        out=str(out / "run"),
        no_cache=True,
    )
    return without_report(config.replace(**(plain | changes)))[0]


def _clips_own(clip: Path, pictures: list[Path]) -> NDArray[np.float64]:
    """Return transformers' own logits of pictures, of the mean of both prompts' directions."""
    import transformers as hf

    model = hf.CLIPModel.from_pretrained(clip).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(clip)
    processor = hf.AutoImageProcessor.from_pretrained(clip)
    with torch.inference_mode():
        given = processor([Image.open(one) for one in pictures], return_tensors="pt")
        seen = model.visual_projection(model.vision_model(**given).pooler_output)
        vectors = []
        for name in CLASSES:
            both = [
                model.text_projection(
                    model.text_model(**tokenizer([text], return_tensors="pt")).pooler_output
                )[0]
                for text in (f"the {name}", f"a {name} day")
            ]
            vectors.append(sum(one / one.norm() for one in both))
        named = torch.stack([one / one.norm() for one in vectors])  # type: ignore[union-attr]
        logits = model.logit_scale.exp() * (seen / seen.norm(dim=1, keepdim=True)) @ named.T
    return np.asarray(logits.double())


def test_scores_are_those_of_transformers_own_zero_shot_classifier(
    pictures: Path, clip: Path, tmp_path: Path
) -> None:
    found = _run(pictures, clip, tmp_path)
    inputs = found.ready.held.inputs  # type: ignore[union-attr]
    sites = found.ready.sites
    assert sites is not None
    paths = [pictures / key for key in inputs.dataset.keys]
    logits, labels = _clips_own(clip, paths), np.asarray(inputs.dataset.labels)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found.outcome.zero_shot is not None
    for client, told in found.outcome.zero_shot.items():
        for rows, tally in (
            (sites.held_out[client], told.held_out),
            (sites.test, told.test),
        ):
            assert tally.total == len(rows) > 0
            assert tally.right == (logits[rows].argmax(1) == labels[rows]).sum()
            assert tally.loss == pytest.approx(-log_p[rows, labels[rows]].mean(), abs=1e-4)
    pairs = found.outcome.pairs["zero_shot"]
    for client, told in found.outcome.zero_shot.items():
        alone = found.outcome.local_only[client].held_out.right
        assert pairs[client].both + pairs[client].only_ours == told.held_out.right
        assert pairs[client].both + pairs[client].only_other == alone


def test_every_row_is_new_to_it(pictures: Path, clip: Path, tmp_path: Path) -> None:
    """With strategies that score all rows it is scored on all of them, whatever was trained on."""
    found = _run(pictures, clip, tmp_path, strategy="fedncm", own_data_rows="all")
    sites = found.ready.sites
    assert sites is not None
    assert found.outcome.zero_shot is not None
    for client, told in found.outcome.zero_shot.items():
        rows = np.concatenate([sites.train[client], sites.held_out[client]])
        paths = [pictures / found.ready.held.inputs.dataset.keys[row] for row in rows]  # type: ignore[union-attr]
        right = (_clips_own(clip, paths).argmax(1) == np.asarray(sites.labels)[rows]).sum()
        assert (told.held_out.right, told.held_out.total) == (right, len(rows))


def test_training_starts_from_it(pictures: Path, clip: Path, tmp_path: Path) -> None:
    """A round of steps too small to see leaves the head as it was: in its own coordinates."""
    still = {"learning_rate": 1e-12, "momentum": 0.0, "weight_decay": 0.0}
    for strategy in ("fedavg", "scaffold"):
        found = _run(
            pictures, clip, tmp_path / strategy, init="zero-shot", strategy=strategy, **still
        )
        outcome, named = found.outcome, found.outcome.zero_shot
        assert named is not None
        for client, told in outcome.federated.items():
            assert told.held_out.correct.tolist() == named[client].held_out.correct.tolist()
            assert told.held_out.loss == pytest.approx(named[client].held_out.loss, abs=1e-3)
        # What the same training makes of all data in one place starts there, too.
        for own, _ in found.centralised.trained:
            assert own == pytest.approx(
                sum(told.held_out.right for told in named.values())
                / sum(told.held_out.total for told in named.values())
            )


def test_the_record_is_on_the_ledger_and_nothing_more_comes_up(
    pictures: Path, clip: Path, tmp_path: Path
) -> None:
    with_names, without = (
        _run(pictures, clip, tmp_path / name, prompt=prompt).outcome
        for name, prompt in (("with", PROMPT), ("without", ""))
    )
    assert without.zero_shot is None
    for name, value in with_names.arrays.items():
        np.testing.assert_array_equal(value, without.arrays[name])
    head = 4 * (24 * 3 + 3)
    assert head <= (with_names.bytes_down - without.bytes_down) / 3 <= head + 400


def test_a_holdout_site_and_all_that_is_shown(pictures: Path, clip: Path, tmp_path: Path) -> None:
    root = tmp_path / "sites"
    for name in CLASSES:
        for number, path in enumerate(sorted((pictures / name).iterdir())):
            folder = root / f"site_{number % 3}" / name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    result = simulate(
        progress=False,
        data=str(root),
        backbone=f"hf:{clip}",
        prompt=PROMPT,
        no_cache=True,
        partition="natural",
        holdout_site="site_1",
        engine="inline",
        init="textncm",
        rounds=1,
        out=str(tmp_path / "run"),
    )
    paths = sorted((root / "site_1").rglob("*.png"))
    labels = np.array([CLASSES.index(path.parent.name) for path in paths])
    right = float((_clips_own(clip, paths).argmax(1) == labels).mean())
    assert result.figures["unseen_site"]["zero_shot"]["accuracy"] == pytest.approx(right)
    assert result.detail is not None
    unseen = result.detail.unseen
    assert unseen is not None
    assert f"zero-shot {100 * right:.1f}%" in str(unseen_plot(unseen).svg)
    console = Console(width=80, file=io.StringIO())
    console.print(unseen_table(unseen))
    console.print(client_table(result.detail))
    console.print(totals_table(result.detail))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert told.count("ero-shot") == 4
    assert "zero-shot: " in told
    assert list(result.summary.index[:3]) == ["local_only", "zero_shot", "federated"]
    assert {"zero_shot_accuracy", "zero_shot_verdict"} <= set(result.clients)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "A head of the classes&#39; names alone" in page
    assert RunResult.load(tmp_path / "run").summary.equals(result.summary)


def test_a_comparison_ranks_strategies_beside_it(
    pictures: Path, clip: Path, tmp_path: Path
) -> None:
    """One strategy brings it, so all are beside it."""
    end = finished(
        compare.main,
        "--strategies",
        "fedncm,textncm",
        "--seeds",
        2,
        "--data",
        pictures,
        "--backbone",
        f"hf:{clip}",
        "--clients",
        2,
        "--test-fraction",
        0.25,
        "--engine",
        "inline",
        "--no-cache",
        "--out",
        tmp_path / "run",
    )
    assert end.exit_code == 0, end.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    (point,) = summary["points"]
    new, own = point["ranking"]["zero_shot"], point["own_data"]["zero_shot"]["accuracy"]
    for name in ("comparison.html", "comparison.tex"):
        written = (tmp_path / "run" / name).read_text().replace("\\,", "")
        assert written.count("zero-shot") >= 2, name
    lines = [line.split() for line in end.stdout.splitlines() if line.startswith("zero-shot")]
    assert [float(line[1].partition("±")[0]) for line in lines] == [
        pytest.approx(100 * one["mean"], abs=0.051) for one in (new, own)
    ]


def test_the_verdict_says_if_nobodys_examples_are_needed() -> None:
    def told(named: float | None, ours: float) -> str:
        gains = {"federated": {"accuracy": 0.1, "low": 0.05, "high": 0.15}}
        zero_shot = None if named is None else {"accuracy": named}
        figures = {"gains": gains, "global_head": True, "federated": {"accuracy": ours}}
        return verdict_of({**figures, "zero_shot": zero_shot})

    assert "needs nobody's examples, is right in 90.0%, the federated head in 90.0%." in told(
        0.9, 0.9
    )
    for named in (None, 0.89, float("nan")):
        assert "nobody" not in told(named, 0.9)


def test_a_simulation_without_a_text_tower_is_refused_at_once(
    pictures: Path, tmp_path: Path
) -> None:
    for number, changes in enumerate(
        ({"init": "zero-shot"}, {"prompt": "a {}"}, {"strategy": "textncm"}, {"init": "textncm"})
    ):
        config = RunConfig(data=str(pictures), out=str(tmp_path / str(number)), engine="inline")
        with pytest.raises(UsageError, match="'fedtl-tiny' has no half that reads names"):
            without_report(config.replace(**changes))


def test_features_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    np.savez(tmp_path / "f.npz", x=x, y=np.arange(40) % 2)
    config = RunConfig(data=f"features:{tmp_path / 'f.npz'}", out=str(tmp_path / "run"))
    with pytest.raises(UsageError, match="no text tower beside them"):
        without_report(config.replace(engine="inline", backbone=BACKBONE, prompt="a {}"))


def test_real_sites_of_the_same_network_score_and_start_from_it(
    pictures: Path, clip: Path, tmp_path: Path
) -> None:
    node = {site: {"data": str(pictures), "backbone": f"hf:{clip}"} for site in range(2)}
    config = RunConfig(
        clients=2,
        backbone=f"hf:{clip}",
        init="zero-shot",
        learning_rate=1e-12,
        momentum=0.0,
        weight_decay=0.0,
        class_names=",".join(CLASSES),
    )
    outcome, _, told = federate(config, tmp_path, tmp_path / "cache", node)
    assert not [reply.error.reason for reply in told if reply.has_error()]
    assert outcome.zero_shot is not None
    for site, scored in outcome.zero_shot.items():
        assert scored.held_out.right == outcome.federated[site].held_out.right
        assert scored.held_out.total == outcome.federated[site].held_out.total > 0


def test_a_server_with_another_network_than_the_sites_is_refused(
    clip: Path, tmp_path: Path
) -> None:
    for site in range(2):
        x = np.random.default_rng(site).normal(size=(30, 24)).astype(np.float32)
        np.savez(tmp_path / f"{site}.npz", x=x, y=np.array(CLASSES)[np.arange(30) % 3])
    config = RunConfig(
        clients=2, backbone=f"hf:{clip}", prompt=PROMPT, class_names=",".join(CLASSES)
    )
    node = {site: {"backbone": f"hf:{clip}"} for site in range(2)}
    with pytest.raises(FedtlError, match="give the server the same backbone"):
        federate(config, tmp_path, tmp_path / "cache", node)
