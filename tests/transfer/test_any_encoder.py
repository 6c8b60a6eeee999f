"""Encoders of every kind of input: an input's features are its own, and what the library gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_encoders import FAMILIES, PICTURES, SOUNDS, TEXTS, WORDS, write_tiny

from fedtl.config import RunConfig
from fedtl.data.input_kinds import PICTURE, SOUND, TABLE_ROW, TEXT, InputKind
from fedtl.data.rows import Row
from fedtl.data.schema import CategoryColumn, NumericColumn, Schema
from fedtl.data.sound import Sound
from fedtl.errors import FedtlError, UnreadableImageError, UsageError
from fedtl.transfer.backbones import Backbone, backbone_of, check_kind
from fedtl.transfer.huggingface.model_place import ModelPlace
from fedtl.transfer.inference import Extractor

RNG = np.random.default_rng(3)


class Listed:
    """Inputs in a list; those that are ``None`` cannot be read."""

    def __init__(self, items: list[Any], kind: InputKind) -> None:
        self.items, self.kind = items, kind

    def __len__(self) -> int:
        return len(self.items)

    def digest(self, index: int) -> bytes:
        return bytes(32)

    def load(self, index: int) -> Any:
        if self.items[index] is None:
            raise UnreadableImageError("nothing there")
        return self.items[index]


def _text(words: int) -> str:
    return " ".join(RNG.choice(WORDS.split(), words))


def _sound(seconds: float, rate: int) -> Sound:
    return Sound((0.1 * RNG.normal(size=int(seconds * rate))).astype(np.float32), rate)


SCHEMA = Schema(
    (
        NumericColumn("age", 50.0, 9.0),
        CategoryColumn("cp", ("1", "2")),
        NumericColumn("z", 0.1, 0.7),
    )
)


def _row() -> Row:
    age, cp, z = RNG.integers(20, 90), RNG.integers(1, 4), RNG.normal()
    return Row({"age": str(age), "cp": str(cp), "z": f"{z:.6f}"})


INPUTS = {
    TEXT: Listed([_text(words) for words in (1, 2, 7, 9, 13, 30, 60, 90, 3, 8, 12, 5) * 4], TEXT),
    SOUND: Listed(
        [_sound(s, r) for s in (0.15, 0.4, 0.9, 1.3) for r in (8000, 16_000, 44_100)], SOUND
    ),
    PICTURE: Listed(
        [RNG.integers(0, 256, (20 + k, 61 - k, 3), dtype=np.uint8) for k in range(40)], PICTURE
    ),
    TABLE_ROW: Listed([_row() for _ in range(150)], TABLE_ROW),
}
KINDS = dict.fromkeys((*TEXTS, "wordllama"), TEXT) | dict.fromkeys((*SOUNDS, "log-mel"), SOUND)
KINDS |= dict.fromkeys((*PICTURES, "fedtl-tiny"), PICTURE)
KINDS |= dict.fromkeys(("tabular", "tabular, random"), TABLE_ROW)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {name: write_tiny(name, root) for name in FAMILIES}


@pytest.fixture(scope="module")
def backbones(folders: dict[str, Path]) -> dict[str, Backbone]:
    named = {name: name for name in KINDS} | {name: f"hf:{path}" for name, path in folders.items()}
    found = {}
    for name, value in named.items():
        options = (("random-features", 500),) if name == "tabular, random" else ()
        config = RunConfig(backbone=value.partition(",")[0], options=options)
        found[name] = backbone_of(config, SCHEMA if KINDS[name] == TABLE_ROW else None)
    return found


def features(
    backbone: Backbone, items: Any, order: list[int] | None = None, workers: int = 1
) -> NDArray[np.float32]:
    """Return the features of all inputs, run in an order."""
    extractor = Extractor(items, backbone, precision="float32", device="cpu", workers=workers)
    found = np.full((len(items), backbone.feature_size), np.nan, np.float32)
    slots = np.arange(len(items))
    for batch in extractor.run(slots if order is None else np.array(order), slots):
        found[batch.slots] = batch.features
    return found


@pytest.mark.parametrize("name", KINDS)
def test_features_are_an_inputs_own(name: str, backbones: dict[str, Backbone]) -> None:
    backbone, items = backbones[name], INPUTS[KINDS[name]]
    assert backbone.preprocessing.kind == KINDS[name]
    whole = features(backbone, items)
    assert np.isfinite(whole).all()
    assert len(np.unique(whole, axis=0)) == len(items)
    for workers in (1, 3):
        shuffled = RNG.permutation(len(items)).tolist()
        assert (features(backbone, items, shuffled, workers) == whole).all()
    for index in (0, 5, 11):
        alone = Listed([items.items[index]], items.kind)
        assert (features(backbone, alone)[0] == whole[index]).all()
    # Those that cannot be read take nothing from the others, and are named.
    holes = Listed([None, *items.items[:3], None], items.kind)
    assert (features(backbone, holes)[1:4] == whole[:3]).all()
    extractor = Extractor(holes, backbone, precision="float32", device="cpu", workers=2)
    slots = np.arange(5)
    told = [batch.unreadable for batch in extractor.run(slots, slots)]
    assert {slot: why for one in told for slot, why in one.items()} == dict.fromkeys(
        (0, 4), "nothing there"
    )


def _library_text(name: str, folder: Path, text: str) -> NDArray[np.float32]:
    """Return what transformers gives for a text by itself, without any padding."""
    import transformers as hf

    model = hf.AutoModel.from_pretrained(folder).eval()
    given = hf.AutoTokenizer.from_pretrained(folder)(
        text, return_tensors="pt", truncation=True, max_length=64
    )
    given.pop("token_type_ids", None)
    model = model.get_encoder() if name == "t5" else model
    with torch.inference_mode():
        vectors = model(**given).last_hidden_state[0]
    found = vectors[-1] if name == "gpt2" else vectors.mean(0)
    return np.asarray(found)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_pooled_as_its_family_does(
    name: str, folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    found = features(backbones[name], INPUTS[TEXT])
    for index in (0, 3, 7):
        expected = _library_text(name, folders[name], INPUTS[TEXT].items[index])
        np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-5)


def test_a_picture_and_a_recording_are_those_of_the_library(
    folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    import transformers as hf
    from PIL import Image

    picture = Image.fromarray(INPUTS[PICTURE].items[4])
    found = features(backbones["vit"], INPUTS[PICTURE])[4]
    given = hf.AutoImageProcessor.from_pretrained(folders["vit"])(picture, return_tensors="pt")
    with torch.inference_mode():
        model = hf.AutoModel.from_pretrained(folders["vit"])
        expected = model.eval()(**given).last_hidden_state[0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    given = hf.AutoImageProcessor.from_pretrained(folders["clip"])(picture, return_tensors="pt")
    with torch.inference_mode():
        clip = hf.CLIPModel.from_pretrained(folders["clip"]).eval()
        pooled = clip.vision_model(**given).pooler_output
        projected = clip.visual_projection(pooled)[0]
    expected = projected / projected.norm()
    found = features(backbones["clip"], INPUTS[PICTURE])[4]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    sound = INPUTS[SOUND].items[4]  # at the network's own rate
    extractor = hf.AutoFeatureExtractor.from_pretrained(folders["wav2vec2"])
    given = extractor(sound.samples, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        model = hf.AutoModel.from_pretrained(folders["wav2vec2"]).eval()
        expected = model(given["input_values"]).last_hidden_state[0].mean(0)
    found = features(backbones["wav2vec2"], INPUTS[SOUND])[4]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_pool_and_layer_are_part_of_the_name_and_of_the_fingerprint(
    folders: dict[str, Path], backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    import transformers as hf

    bert, text = folders["bert"], INPUTS[TEXT].items[2]
    found = backbone_of(RunConfig(backbone=f"hf:{bert}#pool=cls#layer=-2"))
    assert found.name == "hf:bert#pool=cls#layer=-2"
    assert found.told == "texts are cut at 64 tokens (max-length)"
    assert found.fingerprint != backbones["bert"].fingerprint
    given = hf.AutoTokenizer.from_pretrained(bert)(text, return_tensors="pt")
    with torch.inference_mode():
        model = hf.AutoModel.from_pretrained(bert).eval()
        expected = model(**given, output_hidden_states=True).hidden_states[-2][0, 0]
    alone = Listed([text], TEXT)
    np.testing.assert_allclose(features(found, alone)[0], expected, rtol=1e-4, atol=1e-5)
    # The same network elsewhere is the same backbone; another tokenizer is another.
    elsewhere = write_tiny("bert", tmp_path)
    again = backbone_of(RunConfig(backbone=f"hf:{elsewhere}"))
    assert again.fingerprint == backbones["bert"].fingerprint
    tokens = (elsewhere / "tokenizer.json").read_text()
    (elsewhere / "tokenizer.json").write_text(tokens.replace('"good"', '"swap"'))
    other = backbone_of(RunConfig(backbone=f"hf:{elsewhere}"))
    assert other.fingerprint != backbones["bert"].fingerprint


def test_what_sentence_transformers_says_of_pooling_is_followed(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    encoder = Transformer(str(folders["bert"]))
    modules = [encoder, Pooling(32, "cls"), Normalize()]
    theirs = SentenceTransformer(modules=modules, device="cpu")
    theirs.save_pretrained(str(tmp_path / "st"))
    found = backbone_of(RunConfig(backbone=f"hf:{tmp_path / 'st'}"))
    assert found.name == "hf:bert#pool=cls"
    texts = INPUTS[TEXT].items[:12]
    expected = [theirs.encode(text) for text in texts]
    np.testing.assert_allclose(features(found, Listed(texts, TEXT)), expected, rtol=1e-4, atol=1e-5)


def test_word_vectors_are_those_of_the_library(backbones: dict[str, Backbone]) -> None:
    import wordllama

    theirs = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )
    texts = INPUTS[TEXT].items
    np.testing.assert_allclose(
        features(backbones["wordllama"], INPUTS[TEXT]), theirs.embed(texts), rtol=1e-4, atol=1e-5
    )


def test_log_mel_statistics_are_those_of_a_loop(backbones: dict[str, Backbone]) -> None:
    """Against NumPy in float64, frame by frame, with filters written out anew."""
    sound = INPUTS[SOUND].items[7]
    assert sound.rate == 16_000
    window = np.hanning(401)[:400]
    window /= window.sum()
    hertz = np.arange(257) * 16_000 / 512
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42)
    edges = 700 * (10 ** (mels / 2595) - 1)
    filters = np.array(
        [np.interp(hertz, edges[b : b + 3], [0, 1, 0], left=0, right=0) for b in range(40)]
    )
    frames = []
    for start in range(0, len(sound.samples) - 399, 160):
        spectrum = np.fft.rfft(sound.samples[start : start + 400] * window, 512)
        frames.append(np.log(1e-6 + filters @ np.abs(spectrum) ** 2))
    rows = np.array(frames)
    count = len(rows)
    parts = [rows[count * part // 4 : count * (part + 1) // 4].mean(0) for part in range(4)]
    expected = np.concatenate([rows.mean(0), rows.std(0), *parts])
    found = features(backbones["log-mel"], INPUTS[SOUND])[7]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("backbone", "told"),
    [
        ("hf:", "should be hf:FOLDER or hf:NAME"),
        ("hf:./absent", "there is no folder ./absent"),
        ("hf:a-name", "no model of this name in Hugging Face's cache.*--download fetches it"),
        ("hf:FOLDER#pol=mean", "should be hf:FOLDER or hf:NAME"),
        ("hf:FOLDER#pool=most", "pool = 'most' is not known; it is one of mean, cls, last"),
        ("hf:FOLDER#layer=x", "layer = 'x' is no whole number"),
        ("hf:FOLDER#layer=7", "layer = 7 is not there"),
        ("hf:EMPTY", "holds no model that can be read"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    backbone: str, told: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    value = backbone.replace("FOLDER", str(folders["bert"])).replace("EMPTY", str(tmp_path))
    with pytest.raises(UsageError, match=told):
        backbone_of(RunConfig(backbone=value))


def test_what_cannot_be_fetched_is_told_in_whole_sentences() -> None:
    def load(*_: object, **__: object) -> object:
        raise OSError("No connection. " + "Read on at 'https://a.b/c.html'. " * 9)

    place = ModelPlace.of("some/model", download=True)
    with pytest.raises(FedtlError, match=r"some/model cannot be fetched: No.*c\.html'$"):
        place.loaded(load)


def test_weights_that_are_not_there_are_not_drawn_at_random(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_tiny("bert", tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"have no encoder\.layer\.1\.output\.dense\.weight"):
        backbone_of(RunConfig(backbone=f"hf:{folder}"))


def test_inputs_of_another_kind_are_refused(backbones: dict[str, Backbone]) -> None:
    told = "reviews holds texts, but backbone = fedtl-tiny takes pictures; choose another"
    with pytest.raises(UsageError, match=told):
        check_kind(backbones["fedtl-tiny"], INPUTS[TEXT], "reviews")


def test_an_absent_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(UsageError, match=r"pip install 'fedtl\[text\]'"):
        backbone_of(RunConfig(backbone="wordllama"))
