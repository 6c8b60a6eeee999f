"""What rests on too few examples of a class does not leave a site, and neither do its names."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from numpy.typing import NDArray
from PIL import Image
from small_federation import Notes, block_of

import strategies
from fedtl import flower_app
from fedtl.client import answers as client
from fedtl.client.site_store import read_site
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.engine.inline_grid import InlineGrid
from fedtl.errors import UsageError
from fedtl.federation.server import Federation
from fedtl.messages import phases
from fedtl.messages.failure_codes import FAILED, NOT_OPENED, SENTENCES
from fedtl.preparation.splitting import hold_out, split_into_clients, split_notes
from fedtl.records import from_array
from fedtl.transfer.heads import LinearHead

SITES = 2


def _write(path: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    np.savez(path, x=x, y=y, classes=np.array(["a", "b", "rare"]))


def _sites(root: Path, rare: int) -> None:
    """Write two sites' features, of which the first has so many examples of the rarest class."""
    draws = np.random.default_rng(0)
    for site in range(SITES):
        y = np.concatenate([np.repeat([0, 1], 20), np.repeat(2, 12)])
        x = (np.eye(3, 6)[y] + draws.normal(size=(len(y), 6))).astype(np.float32)
        kept = slice(None) if site else slice(40 + rare)
        _write(root / f"{site}.npz", x[kept], y[kept])


def _told(root: Path, strategy: str, **node: Any) -> tuple[list[Message], Notes]:
    """Run a federation of real sites; return all that the first one said."""
    config = RunConfig(clients=SITES, rounds=1, strategy=strategy, held_out=0.0)
    told: list[Message] = []

    def sites(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        [message], [context] = messages, contexts
        partition = context.node_config["partition-id"]
        context.node_config |= {
            "data": f"features:{root / f'{partition}.npz'}",
            "cache": str(root / f"cache-{partition}"),
            **node,
        }
        read_site.cache_clear()
        reply = flower_app.reply(message, context)
        if partition == 0:
            told.append(reply)
        return [reply]

    notes = Notes()
    grid = InlineGrid(SITES, sites, config.to_mapping(), block=1)
    Federation(grid, config, notes).run()
    return told, notes


def _arrays(told: Sequence[Message]) -> list[bytes]:
    return [
        array.data
        for message in told
        for record in message.content.values()
        if isinstance(record, ArrayRecord)
        for array in record.values()
    ]


@pytest.mark.parametrize(
    "strategy", ["fedavg", "fed3r", "fedncm", "fedcof", "fedpft", "fedsoftmax"]
)
def test_no_sum_rests_on_fewer_than_five_examples_of_a_class(strategy: str, tmp_path: Path) -> None:
    said = {}
    for rare in (2, 4, 5):
        (tmp_path / str(rare)).mkdir()
        _sites(tmp_path / str(rare), rare)
        said[rare], notes = _told(tmp_path / str(rare), strategy)
        warned = [text for text in notes.warnings if "does not train on 1 of its classes" in text]
        assert len(warned) == (rare < 5)
    assert _arrays(said[4]) == _arrays(said[2]) != _arrays(said[5])


def test_a_site_that_says_so_sends_what_rests_on_fewer(tmp_path: Path) -> None:
    _sites(tmp_path, 4)
    told, _ = _told(tmp_path, "fedncm", **{"min-examples-per-class": 4})
    [statistics] = [m.content["statistics"] for m in told if "statistics" in m.content]
    assert from_array(statistics["class-counts"]).tolist() == [20, 20, 4]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_part_is_of_as_many_examples_or_people(grouped: bool) -> None:
    draws = np.random.default_rng(1)
    y = np.repeat([0, 1], [23, 40])
    groups = np.repeat(np.arange(21), 3) if grouped else None
    x = draws.normal(size=(63, 4)).astype(np.float32)
    config = RunConfig(strategy="fedcof", clients=1, min_examples_per_class=5, fedcof_parts=30)
    strategy = strategies.build(config, LinearHead(4, 2))
    assert isinstance(strategy, strategies.load("fedcof"))
    block = block_of(x, y, [np.arange(63)], 2)
    block = type(block)(**{**vars(block), "groups": groups})
    told = strategy.client_statistics(block, 0)
    counts = told["class-counts"]
    assert counts.sum(0).tolist() == [23, 40]
    np.testing.assert_allclose(told["class-sums"].sum(0)[1], x[y == 1].sum(0), rtol=1e-5)
    if groups is None:
        assert [(counts[:, c] > 0).sum() for c in (0, 1)] == [4, 8]
        assert counts[counts > 0].min() >= 5
        return
    assert [(counts[:, c] > 0).sum() for c in (0, 1)] == [1, 2]
    # Five people at least, whoever they are: with three pictures each, one perhaps cut in two.
    assert counts[counts > 0].min() >= 5 * 3 - 2


def _dataset(y: list[int], groups: list[str] | None = None) -> Dataset:
    labels = np.array(y)
    return Dataset(
        name="few",
        test=np.zeros(len(y), bool),
        sites=None,
        keys=[str(at) for at in range(len(y))],
        inputs=np.zeros((len(y), 2), np.float32),
        labels=labels,
        classes=("a", "b"),
        groups=None if groups is None else np.array(groups),
    )


def test_people_count_if_they_are_known() -> None:
    config = RunConfig(min_examples_per_class=3, held_out=0.0)
    y = [0] * 4 + [1] * 6
    rows = np.arange(10)
    train, held_out = hold_out(config, _dataset(y), rows, 0)
    assert (train.tolist(), held_out.tolist()) == (rows.tolist(), [])
    two_people_with_b = list("abcd") + list("xxxyyy")
    train, _ = hold_out(config, _dataset(y, two_people_with_b), rows, 0)
    assert train.tolist() == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="client 7 has fewer than 5 training groups of every"):
        hold_out(config.replace(min_examples_per_class=5), _dataset(y, two_people_with_b), rows, 7)
    with pytest.raises(UsageError, match="fewer than 7 training examples of every class"):
        hold_out(config.replace(min_examples_per_class=7), _dataset(y), rows, 0)
    assert len(hold_out(config.replace(min_examples_per_class=1), _dataset(y), rows, 0)[0]) == 10


def test_a_simulation_leaves_out_what_a_site_would_and_says_so() -> None:
    draws = np.random.default_rng(0)
    dataset = _dataset(draws.integers(0, 2, 300).tolist())
    config = RunConfig(clients=6, partition="dirichlet", alpha=0.3, min_examples_per_class=4)
    plain = split_into_clients(config.replace(min_examples_per_class=0), dataset)
    split = split_into_clients(config, dataset)
    left = 0
    for whole, train in zip(plain.train, split.train, strict=True):
        counts = np.bincount(dataset.labels[whole], minlength=2)
        kept = whole[counts[dataset.labels[whole]] >= 4]
        np.testing.assert_array_equal(train, kept)
        left += len(whole) - len(kept)
    assert left
    [note] = split_notes(config, dataset, split)
    assert note.startswith(f"{left} training images are left out")
    assert split_notes(config.replace(min_examples_per_class=0), dataset, plain) == []


NAMES = ("Lovelace", "Noether", "1912-06-23")


def _everything(content: RecordDict) -> bytes:
    """Return all bytes of a reply: names and values of records, arrays as they are."""
    parts = [pickle.dumps([name, list(record)]) for name, record in content.items()]
    for record in content.values():
        if isinstance(record, ArrayRecord):
            parts += [array.data for array in record.values()]
        else:
            assert isinstance(record, MetricRecord | ConfigRecord)
            parts.append(repr(dict(record)).encode())
    return b"\n".join(parts)


@pytest.mark.parametrize("broken", ["", "data", "picture", "memory"])
def test_no_name_of_a_file_or_folder_leaves_a_site(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / NAMES[0]
    draws = np.random.default_rng(0)
    for at in range(24):
        place = root / "class-a" if at % 2 else root / "class-b"
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(draws.integers(0, 255, (9, 9, 3), np.uint8))
        picture.save(place / f"{NAMES[1]}-{NAMES[2]}-{at}.png")
    if broken == "picture":
        (root / "class-a" / f"{NAMES[1]}.png").write_bytes(b"no picture of " + NAMES[2].encode())
    if broken == "memory":

        def fail(*_: Any, **__: Any) -> None:
            raise MemoryError(f"{root / NAMES[1]}")

        monkeypatch.setitem(client._HANDLERS, phases.TRAIN, fail)
    config = RunConfig(clients=1, rounds=1, image_size=16)
    replies: list[Message] = []

    def site(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
        [message], [context] = messages, contexts
        data = tmp_path / NAMES[0] if broken != "data" else tmp_path / NAMES[1] / NAMES[2]
        context.node_config |= {"data": str(data), "cache": str(tmp_path / "cache")}
        read_site.cache_clear()
        replies.append(flower_app.reply(message, context))
        return replies[-1:]

    grid = InlineGrid(1, site, config.to_mapping(), block=1)
    try:
        Federation(grid, config, Notes()).run()
    except Exception:
        assert broken == "data"
    assert len(replies) == (1 if broken == "data" else 4)
    failed = [reply for reply in replies if reply.has_error()]
    if broken in ("data", "memory"):
        [reply] = failed
        code = NOT_OPENED if broken == "data" else FAILED
        assert (reply.error.code, reply.error.reason) == (code, SENTENCES[code])
        assert NAMES[1] in caplog.text
    else:
        assert not failed
    for reply in replies:
        sent = _everything(reply.content) if reply.has_content() else reply.error.reason.encode()
        for name in (*NAMES, str(tmp_path), tmp_path.name):
            assert name.encode() not in sent
