"""The feature cache: nothing computed twice, nothing damaged believed, nothing lost in a kill."""

from __future__ import annotations

import errno
import hashlib
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedtl.errors import FedtlError, UnreadableImageError, UsageError
from fedtl.transfer import extraction
from fedtl.transfer.backbones import Backbone, load_backbone
from fedtl.transfer.extraction import Features, extract_features
from fedtl.transfer.feature_file import memory_map

BAD = 666


@dataclass
class Noise:
    """Pictures of random pixels, named by numbers; counts what is decoded, and can be slow."""

    numbers: list[int]
    side: int = 34
    seconds: float = 0.0
    log: Path | None = None
    decoded: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def digest(self, index: int) -> bytes:
        return hashlib.sha256(str(self.numbers[index]).encode()).digest()

    def load(self, index: int) -> NDArray[np.uint8]:
        number = self.numbers[index]
        if number == BAD:
            raise UnreadableImageError("no picture at all")
        self.decoded.append(number)
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{number}\n")
        time.sleep(self.seconds)
        rng = np.random.default_rng(number)
        return rng.integers(0, 256, (self.side, self.side + 3, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("fedtl-tiny", weights="random", image_size=12, seed=0)


def _extract(
    images: Any, backbone: Backbone, cache: Path | None, workers: int | None = None
) -> Features:
    return extract_features(
        images,
        backbone,
        cache=cache,
        precision="float32",
        device="cpu",
        on_progress=None,
        workers=workers,
    )


def _views(cache: Path) -> list[Path]:
    return sorted(cache.glob("features/*/views/*"))


def test_a_second_run_decodes_nothing(tmp_path: Path, backbone: Backbone) -> None:
    first, second = Noise(list(range(50))), Noise(list(range(50)))
    cold = _extract(first, backbone, tmp_path)
    warm = _extract(second, backbone, tmp_path)
    assert (cold.computed, cold.reused, len(first.decoded)) == (50, 0, 50)
    assert (warm.computed, warm.reused, second.decoded) == (0, 50, [])
    expected = [backbone.forward(backbone.preprocess(first.load(i))[None])[0] for i in range(50)]
    # A root magnifies the rounding of a mean near zero.
    torch.testing.assert_close(
        torch.tensor(cold.array), torch.stack(expected), rtol=1e-5, atol=2e-4
    )
    assert np.array_equal(cold.array, warm.array)


def test_overlapping_and_repeated_images_are_computed_once(
    tmp_path: Path, backbone: Backbone
) -> None:
    _extract(Noise([1, 2, 3, 4]), backbone, tmp_path)
    images = Noise([9, 3, 9, 1, 7, 9])
    features = _extract(images, backbone, tmp_path)
    assert sorted(images.decoded) == [7, 9]
    assert (features.computed, features.reused) == (2, 2)
    assert np.array_equal(features.array, _extract(Noise(images.numbers), backbone, None).array)


def test_a_set_in_another_order_is_not_taken_for_the_same(
    tmp_path: Path, backbone: Backbone
) -> None:
    numbers = [4, 1, 3, 2, 5]
    first = np.array(_extract(Noise(numbers), backbone, tmp_path).array)
    for order in ([4, 3, 2, 1, 0], [1, 3, 2, 0, 4], [0, 1, 2]):
        images = Noise([numbers[at] for at in order])
        features = _extract(images, backbone, tmp_path)
        assert images.decoded == []
        assert np.array_equal(features.array, first[order])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sets=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=14), max_size=4))
def test_any_history_computes_each_image_once(
    sets: list[list[int]], backbone: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    decoded: list[int] = []
    for numbers in sets:
        images = Noise(numbers)
        features = _extract(images, backbone, cache)
        decoded += images.decoded
        assert np.array_equal(features.array, _extract(Noise(numbers), backbone, None).array)
        assert features.computed + features.reused == len(set(numbers))
    assert sorted(decoded) == sorted({number for numbers in sets for number in numbers})


def test_other_weights_or_precision_share_nothing(tmp_path: Path, backbone: Backbone) -> None:
    images = Noise([1, 2, 3])
    _extract(images, backbone, tmp_path)
    other = load_backbone("fedtl-tiny", weights="random", image_size=12, seed=1)
    assert _extract(images, other, tmp_path).computed == 3
    half = extract_features(
        images, backbone, cache=tmp_path, precision="bfloat16", device="cpu", on_progress=None
    )
    assert half.computed == 3
    assert half.array.dtype == np.float32


def test_no_cache_writes_nothing(tmp_path: Path, backbone: Backbone) -> None:
    features = _extract(Noise([1, 2]), backbone, None)
    assert (features.path, features.computed, list(tmp_path.iterdir())) == (None, 2, [])


def test_another_process_maps_the_same_matrix(tmp_path: Path, backbone: Backbone) -> None:
    features = _extract(Noise([1, 2, 3]), backbone, tmp_path)
    assert features.path is not None
    shape = (3, backbone.feature_size)
    mapped = memory_map(features.path, offset=features.offset, shape=shape)
    assert np.array_equal(mapped, features.array)
    assert not mapped.flags.writeable
    assert not features.array.flags.writeable


def _cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _last_byte_lost(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _one_bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def _footer_changed(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b'"rows": 30') == 1
    path.write_bytes(content.replace(b'"rows": 30', b'"rows": 29'))


def _foreign(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY" + path.read_bytes()[6:])


DAMAGES = [_cut_short, _emptied, _last_byte_lost, _one_bit_flipped, _footer_changed, _foreign]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_rebuilt_and_named_once(
    damage: Any, tmp_path: Path, backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = list(range(30))
    before = np.array(_extract(Noise(numbers), backbone, tmp_path).array)
    (path,) = _views(tmp_path)
    damage(path)
    with caplog.at_level(logging.WARNING):
        features = _extract(Noise(numbers), backbone, tmp_path)
    assert [str(path) in message for message in caplog.messages] == [True]
    assert features.computed == 30
    assert np.array_equal(features.array, before)
    assert _extract(Noise(numbers), backbone, tmp_path).computed == 0


def test_entries_of_other_images_or_backbones_are_not_believed(
    tmp_path: Path, backbone: Backbone
) -> None:
    other = load_backbone("fedtl-tiny", weights="random", image_size=12, seed=1)
    _extract(Noise([1, 2]), other, tmp_path)
    (foreign,) = _views(tmp_path)
    expected = np.array(_extract(Noise([1, 2]), backbone, tmp_path).array)
    _extract(Noise([3, 4]), backbone, tmp_path)
    (mine,) = (p for p in _views(tmp_path) if p.name == foreign.name and p != foreign)
    (different,) = (p for p in _views(tmp_path) if p.name != foreign.name)
    for impostor in (foreign, different):
        mine.write_bytes(impostor.read_bytes())
        assert np.array_equal(_extract(Noise([1, 2]), backbone, tmp_path).array, expected)


def test_unreadable_images_are_zero_and_named(tmp_path: Path, backbone: Backbone) -> None:
    numbers = [1, BAD, 2, BAD]
    for computed, cache in [(2, tmp_path), (0, tmp_path), (2, None)]:
        features = _extract(Noise(numbers), backbone, cache)
        assert features.unreadable == ((1, "no picture at all"), (3, "no picture at all"))
        assert not features.array[[1, 3]].any()
        assert features.array[[0, 2]].any(axis=1).all()
        assert (features.computed, features.reused) == (computed, 0 if computed else 2)


def test_an_image_that_became_readable_is_computed(tmp_path: Path, backbone: Backbone) -> None:
    class Healed(Noise):
        def load(self, index: int) -> NDArray[np.uint8]:
            return Noise([3]).load(0) if self.numbers[index] == BAD else super().load(index)

    _extract(Noise([1, BAD]), backbone, tmp_path)
    features = _extract(Healed([1, BAD, 2]), backbone, tmp_path)
    assert (features.computed, features.reused, features.unreadable) == (2, 1, ())
    _extract(Noise([4, BAD]), backbone, tmp_path)
    same = _extract(Healed([4, BAD]), backbone, tmp_path)
    assert (same.computed, same.reused, same.unreadable) == (0, 2, ())
    assert same.array[1].any()


def _network(name: str, image_size: int) -> Backbone:
    return load_backbone(name, weights="random", image_size=image_size, seed=0)


@pytest.mark.parametrize(
    ("name", "image_size", "count"),
    [("fedtl-tiny", 32, 75), ("mobilenet_v2", 64, 37), ("resnet18", 160, 19)],
)
def test_features_depend_on_the_image_alone(name: str, image_size: int, count: int) -> None:
    backbone = _network(name, image_size)
    numbers = list(range(count))
    whole = _extract(Noise(numbers), backbone, None, workers=1).array
    shuffled = np.random.default_rng(0).permutation(count)
    for chosen, workers in [(shuffled, 3), (shuffled[: count // 3], 2), (shuffled[:1], 1)]:
        some = _extract(Noise(chosen.tolist()), backbone, None, workers=workers)
        assert np.array_equal(some.array, whole[chosen])


def test_the_callers_threads_stay_as_they_were(backbone: Backbone) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _extract(Noise([1, 2, 3]), backbone, None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pictures_that_come_in_batches_give_the_same(backbone: Backbone) -> None:
    class Rendered(Noise):
        def load_batch(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            return np.stack([Noise.load(self, int(index)) for index in indices])

        def load(self, index: int) -> NDArray[np.uint8]:
            raise AssertionError(index)

    numbers = list(range(70))
    batched = _extract(Rendered(numbers), backbone, None)
    assert np.array_equal(batched.array, _extract(Noise(numbers), backbone, None).array)


def test_progress_counts_images_with_features(tmp_path: Path, backbone: Backbone) -> None:
    _extract(Noise([0, 1]), backbone, tmp_path)
    for numbers, start in [([0, 0, 1, *range(1, 90), 89, 89, BAD], 4), ([0, 1], 2)]:
        calls: list[tuple[int, int]] = []
        extract_features(
            Noise(numbers),
            backbone,
            cache=tmp_path,
            precision="float32",
            device="cpu",
            on_progress=lambda done, total, calls=calls: calls.append((done, total)),  # type: ignore[misc]
        )
        assert calls[0] == (start, len(numbers))
        assert calls[-1] == (len(numbers), len(numbers))
        assert calls == sorted(calls)


def test_infinite_features_are_an_error(tmp_path: Path, backbone: Backbone) -> None:
    class Overflow(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.full((len(pixels), 512), float("inf"))

    broken = replace(backbone, network=Overflow())
    with pytest.raises(FedtlError, match="not finite in float32"):
        _extract(Noise([1]), broken, tmp_path)


@pytest.mark.parametrize(
    "option", [{"precision": "float8"}, {"device": "gpu"}, {"device": "cuda:99"}]
)
def test_unknown_precisions_and_devices_are_refused(
    option: dict[str, str], backbone: Backbone
) -> None:
    options = {"precision": "float32", "device": "cpu", **option}
    with pytest.raises(UsageError, match=next(iter(option.values()))):
        extract_features(Noise([1]), backbone, cache=None, on_progress=None, **options)  # type: ignore[arg-type]


def test_a_full_disk_is_one_sentence_and_leaves_no_litter(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FedtlError, match=r"No space left on device.*--no-cache\.$"):
        _extract(Noise([1, 2]), backbone, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["lock"]
    assert _extract(Noise([1, 2]), backbone, tmp_path).computed == 2


def test_a_cache_that_is_no_folder_is_one_sentence(tmp_path: Path, backbone: Backbone) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FedtlError, match=r"Not a directory.*--cache"):
        _extract(Noise([1]), backbone, tmp_path / "file")


def _fill(cache: Path, log: Path, seconds: float, result: Any) -> None:
    """Extract the features of 120 slow images in a process of its own."""
    extraction._SEGMENT_ROWS = 32
    images = Noise(list(range(120)), seconds=seconds, log=log)
    features = _extract(images, _network("fedtl-tiny", 12), cache, workers=1)
    result.put((features.computed, features.reused, features.array.tobytes()))


def _decoded(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_share_the_work_and_a_kill_costs_little(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    result = context.Queue()
    cache, logs = tmp_path / "cache", [tmp_path / name for name in "abc"]

    def start(log: Path) -> Any:
        process = context.Process(target=_fill, args=(cache, log, 0.02, result))
        process.start()
        return process

    first = start(logs[0])
    others = [start(log) for log in logs[1:]]
    _wait_for(lambda: any(cache.glob("features/*/segments/*.features")))
    processes = [first, *others]
    busy = next(i for i, log in enumerate(logs) if log.exists())
    os.kill(processes[busy].pid, signal.SIGKILL)
    answers = [result.get(timeout=60), result.get(timeout=60)]
    for process in processes:
        process.join(timeout=60)

    saved = 120 - max(computed for computed, _, _ in answers)
    assert sorted(answer[:2] for answer in answers) == [(0, 120), (120 - saved, saved)]
    assert saved >= 32
    survivors = [number for i, log in enumerate(logs) if i != busy for number in _decoded(log)]
    assert len(survivors) == len(set(survivors)) == 120 - saved
    direct = _extract(Noise(list(range(120))), _network("fedtl-tiny", 12), None)
    assert {array for _, _, array in answers} == {direct.array.tobytes()}
    assert len(_views(cache)) == 1
    assert not list(cache.glob("features/*/segments/*"))
