"""Python that a network of transformers brings: run if asked for alone, and in the fingerprint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from brought_network import WIDTH, keep_copies_apart, write_brought
from safetensors.numpy import load_file
from tiny_encoders import write_tiny

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.backbones import Backbone, backbone_of


@pytest.fixture(scope="module", autouse=True)
def _copies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        keep_copies_apart(patch)
        yield


def _loaded(place: Path, *, trusted: bool = True) -> Backbone:
    return backbone_of(RunConfig(backbone=f"hf:{place}", trust_remote_code=trusted))


def test_no_python_of_a_networks_runs_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_brought(tmp_path)
    for file in place.glob("*.py"):
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    # transformers would ask at the terminal.
    monkeypatch.setattr("builtins.input", lambda asked="": "yes")
    said = rf"^{place} brings Python of its own, .* add --trust-remote-code if you know who wrote"
    with pytest.raises(UsageError, match=said):
        _loaded(place, trusted=False)
    assert not (tmp_path / "ran").exists()


def test_features_are_what_the_brought_python_computes(tmp_path: Path) -> None:
    place = write_brought(tmp_path)
    backbone = _loaded(place)
    vectors = load_file(place / "model.safetensors")["vectors.weight"]
    tokens = json.loads((place / "tokenizer.json").read_text())["model"]["vocab"]
    rows = [tokens[word] for word in ("[CLS]", "the", "good", "film", "[SEP]")]
    found = backbone.forward(*backbone.batch_of("the good film"))[0]
    assert found.shape == (WIDTH,)
    np.testing.assert_allclose(found, 2 * vectors[rows].mean(0), rtol=1e-5)
    assert "Python that the network brings runs (3 files)" in backbone.told
    # What ran once in this process still is not run for whoever does not ask.
    with pytest.raises(UsageError, match="brings Python of its own"):
        _loaded(place, trusted=False)


def test_python_that_made_itself_known_to_transformers_is_asked_for_as_well(tmp_path: Path) -> None:
    place = write_brought(tmp_path, kind="known")
    known = {
        "configuration_plain.py": "from transformers import AutoConfig\n"
        "AutoConfig.register('known', PlainConfig)\n",
        "modeling_plain.py": "from transformers import AutoModel\n"
        "AutoModel.register(PlainConfig, PlainModel)\n",
    }
    for file, added in known.items():
        (place / file).write_text((place / file).read_text() + added)
    _loaded(place)
    content = json.loads((place / "config.json").read_text())
    del content["auto_map"]
    (place / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="brings Python of its own"):
        _loaded(place, trusted=False)


def test_the_fingerprint_covers_every_file_of_python_wherever_the_folder_lies(
    tmp_path: Path,
) -> None:
    place = write_brought(tmp_path)
    first = _loaded(place).fingerprint
    moved = Path(shutil.copytree(place, tmp_path / "elsewhere" / "named otherwise"))
    assert _loaded(moved).fingerprint == first
    (place / "within").mkdir()
    (place / "within" / "unused.py").write_text("# nothing\n")
    second = _loaded(place).fingerprint
    (place / "within" / "unused.py").write_text("# Nothing\n")
    third = _loaded(place).fingerprint
    assert len({first, second, third}) == 3


def test_the_fingerprint_covers_that_it_was_asked_for(tmp_path: Path) -> None:
    place = write_tiny("bert", tmp_path)
    assert _loaded(place).fingerprint != _loaded(place, trusted=False).fingerprint


def test_python_that_changed_since_it_was_imported_is_not_taken_for_what_ran(
    tmp_path: Path,
) -> None:
    place = write_brought(tmp_path)
    _loaded(place)
    # Of the same configuration transformers takes the class that it has.
    (place / "layers.py").write_text("def doubled(x):\n    return 3 * x\n")
    with pytest.raises(UsageError, match="other Python than a network of the same names"):
        _loaded(place)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_python_of_another_repository_is_refused(file: str, tmp_path: Path) -> None:
    place = write_brought(tmp_path)
    content = json.loads((place / file).read_text())
    content["auto_map"] = {"AutoModel": ["someone/else--modeling_plain.PlainModel", None]}
    (place / file).write_text(json.dumps(content))
    with pytest.raises(UsageError, match=f"another repository, someone/else; .* out of {file}"):
        _loaded(place)


def test_modules_of_a_model_for_sentences_are_no_way_around_it(tmp_path: Path) -> None:
    place = write_tiny("bert", tmp_path)
    (place / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "own.Own"}]')
    (place / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UsageError, match="brings Python of its own"):
        _loaded(place, trusted=False)
    assert not (tmp_path / "ran").exists()


def test_what_fails_in_brought_python_is_told_in_a_sentence(tmp_path: Path) -> None:
    place = write_brought(tmp_path)
    (place / "configuration_plain.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match="brings fails: ZeroDivisionError: division by zero"):
        _loaded(place)
