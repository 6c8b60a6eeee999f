"""A real site may have no example of a class that others have: it takes part all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation_of_sites import federate
from flwr.app import Message
from numpy.typing import NDArray
from PIL import Image
from small_federation import Notes, federated, small_sites

import strategies
from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset
from fedtl.data.declared_classes import absent_note, with_declared_classes
from fedtl.data.sources import open_dataset
from fedtl.errors import FedtlError, UsageError
from fedtl.federation.outcome import Outcome
from fedtl.messages.failure_codes import NOT_OPENED, SENTENCES
from fedtl.preparation.inputs import prepare_inputs
from fedtl.preparation.opened_data import open_data
from fedtl.records import from_array

CLASSES = ("a", "b", "c")
# Examples of each class at each site: all; none of c; one of c; a alone.
HELD = ((20, 20, 20), (20, 20, 0), (20, 20, 1), (30, 0, 0))


def _rows(site: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draws = np.random.default_rng(site)
    y = np.repeat(np.arange(3), HELD[site])
    return (np.eye(3, 6)[y] + 0.6 * draws.normal(size=(len(y), 6))).astype(np.float32), y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sites' features, with names for labels, so that a file has only the classes it holds."""
    root = tmp_path_factory.mktemp("absent")
    for site in range(len(HELD)):
        x, y = _rows(site)
        np.savez(root / f"{site}.npz", x=x, y=np.array(CLASSES)[y])
    return root


def _federate(
    folder: Path, cache: Path, strategy: str, node: Any = None, **changes: Any
) -> tuple[Outcome, Notes, list[Message]]:
    changes = {"class_names": "c, a, b", "rounds": 2, **changes}
    config = RunConfig(clients=len(HELD), strategy=strategy, **changes)
    return federate(config, folder, cache, node)


# The others read class names, with the backbone of these features, of which nothing is known.
BLIND = [name for name in strategies.available() if not strategies.load(name).takes_texts]


@pytest.mark.parametrize("strategy", BLIND)
def test_it_takes_part_in_every_strategy(strategy: str, folder: Path, tmp_path: Path) -> None:
    head: dict[str, Any] = {}
    if strategy == "fedper":
        head = {"head": "mlp", "head_init": "seeded", "hidden_units": 8}
    outcome, notes, told = _federate(folder, tmp_path, strategy, **head)
    assert not [reply.error.reason for reply in told if reply.has_error()]
    assert not [row for row in notes.rows if row.clients != len(HELD)]
    for site, held in enumerate(HELD):
        scores = outcome.federated[site].held_out
        # A fifth of each class is held out, and of a class of one nothing.
        assert scores.examples.tolist() == [round(n / 5) for n in held]
        assert scores.loss is None or np.isfinite(scores.loss)


@pytest.mark.parametrize(
    "changes",
    [
        {"init": "fed3r"},
        {"init": "fedncm"},
        {"personalise": 2},
        {"prior_correction": True},
        {"own_data_rows": "all", "strategy": "personalridge"},
        {"head": "mlp", "head_init": "seeded", "hidden_units": 4},
        {"head": "cosine", "strategy": "fedprox"},
    ],
)
def test_it_takes_part_in_what_can_be_added(
    changes: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    changes = {"strategy": "fedavg", **changes}
    outcome, notes, told = _federate(folder, tmp_path, **changes)
    assert not [reply.error.reason for reply in told if reply.has_error()]
    assert [row.clients for row in notes.rows] == [len(HELD)] * len(notes.rows)
    assert all(np.isfinite(array).all() for array in outcome.arrays.values())


@pytest.mark.parametrize("strategy", ["fedavg", "fed3r", "fedcgs", "scaffold"])
def test_the_head_is_that_of_simulated_clients(strategy: str, folder: Path, tmp_path: Path) -> None:
    real, _, _ = _federate(folder, tmp_path, strategy, held_out=0.0)
    rows = [_rows(site) for site in range(len(HELD))]
    x, y = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    place = np.repeat(np.arange(len(HELD)), [sum(held) for held in HELD])
    # Of the one example of c, alone at its site, nothing may leave.
    parts = [np.flatnonzero((place == site) & ((site != 2) | (y < 2))) for site in range(len(HELD))]
    with small_sites(x, y, parts) as sites:
        config = RunConfig(strategy=strategy, rounds=2, held_out=0.0)
        simulated, _ = federated(config, sites)
    for name, array in simulated.arrays.items():
        np.testing.assert_array_equal(real.arrays[name], array)


def test_counts_of_a_class_that_is_not_there_are_zero(folder: Path, tmp_path: Path) -> None:
    _, notes, told = _federate(folder, tmp_path, "fedncm", held_out=0.0)
    census = [reply.content["census"] for reply in told if "census" in reply.content]
    known = [list(held) for held in HELD]
    known[2][2] = 0
    assert [one["label-counts"] for one in census] == known
    assert [one["classes-left-out"] for one in census] == [0, 0, 1, 0]
    names = [tuple(r.content["identity"]["classes"]) for r in told if "identity" in r.content]
    assert names == [CLASSES] * len(HELD)
    sums = [r.content["statistics"] for r in told if "statistics" in r.content]
    assert [from_array(one["class-counts"]).tolist() for one in sums] == known
    assert [text for text in notes.warnings if "does not train on 1 of its classes" in text]


def test_a_class_that_nobody_has_is_told(folder: Path, tmp_path: Path) -> None:
    outcome, notes, _ = _federate(folder, tmp_path, "fed3r", class_names="a,b,c,cc")
    assert "Of the 4 classes, no client has an example of cc, so it is not learnt." in (
        notes.warnings
    )
    assert outcome.arrays["weight"].shape == (4, 6)
    _, notes, _ = _federate(folder, tmp_path / "known", "fed3r")
    assert not [text for text in notes.warnings if "no client has" in text]


def test_its_own_log_names_what_it_has_none_of(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _federate(folder, tmp_path, "fedncm")
    said = [text for text in caplog.messages if "no training example" in text]
    assert len(said) == 2
    assert said[0].startswith("of the 3 classes, this site has no training example of the class c,")
    assert "of the 2 classes b, c," in said[1]


def test_a_site_whose_own_config_names_them_needs_no_word_of_the_run(
    folder: Path, tmp_path: Path
) -> None:
    own = {site: {"class-names": "b,c,a"} for site in (1, 3)}
    _, _, told = _federate(folder, tmp_path, "fedncm", own, class_names="")
    assert not [reply.error.reason for reply in told if reply.has_error()]


def test_without_a_declaration_it_is_refused_and_told_how(folder: Path, tmp_path: Path) -> None:
    outcome, notes, told = _federate(folder, tmp_path, "fedncm", class_names="")
    assert outcome.federated.keys() == {0, 2}
    [said] = [text for text in notes.warnings if "the site's classes are a, b, the" in text]
    assert "class-names, in its node config or in the run's configuration, names them all" in said
    assert [reply.error.code for reply in told if reply.has_error()] == [NOT_OPENED]


def test_a_misspelt_class_is_refused_at_home(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = _rows(0)
    np.savez(tmp_path / "typo.npz", x=x, y=np.array(["a", "b", "cc"])[y])
    own = {0: {"data": f"features:{tmp_path / 'typo.npz'}"}}
    outcome, _, told = _federate(folder, tmp_path, "fedncm", own)
    assert outcome.federated.keys() == {1, 2, 3}
    refused = [(r.error.code, r.error.reason) for r in told if r.has_error()]
    assert refused == [(NOT_OPENED, SENTENCES[NOT_OPENED])]
    assert "typo: cc is none of the classes that class-names declares, c, a, b" in caplog.text


# --- how data is read -----------------------------------------------------------------------------


def _open(spec: object, *, own: bool = True, **reading: Any) -> Dataset:
    names = reading.pop("declared_classes", ())
    return open_dataset(RunConfig(data=str(spec), class_names=",".join(names), **reading), own=own)


def _pictures(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for at in range(count):
            Image.new("RGB", (8, 8), (at, 0, len(name))).save(root / name / f"{at}.png")
    return root


def test_a_folder_of_one_class_or_of_one_picture(tmp_path: Path) -> None:
    site = _pictures(tmp_path / "site", {"ill": 3, "well": 1})
    data = _open(site, declared_classes=("well", "odd", "ill"))
    assert data.classes == ("ill", "odd", "well")
    assert np.bincount(data.labels, minlength=3).tolist() == [3, 0, 1]
    alone = _pictures(tmp_path / "alone", {"well": 2})
    assert _open(alone, declared_classes=("well", "ill")).labels.tolist() == [1, 1]
    with pytest.raises(UsageError, match="there is only well; if the other sites have more, class"):
        _open(alone)
    with pytest.raises(UsageError, match="no images"):
        _open(_pictures(tmp_path / "none", {"well": 0}), declared_classes=("well", "ill"))


def test_a_rare_class_that_is_dropped_stays_declared(tmp_path: Path) -> None:
    site = _pictures(tmp_path / "site", {"ill": 3, "well": 1})
    data = _open(site, declared_classes=("ill", "well"), min_per_class=2)
    assert (data.classes, data.labels.tolist()) == (("ill", "well"), [0, 0, 0])
    assert "drops 1 of 2 classes, with 1 image: well" in data.notes[0]
    with pytest.raises(UsageError, match=r"leaves 0 of 2 .* but one is needed; one class has at l"):
        _open(site, min_per_class=4)


def test_a_class_of_which_nothing_can_be_decoded_stays(tmp_path: Path) -> None:
    site = _pictures(tmp_path / "site", {"ill": 3, "well": 2})
    # Of two, one is too few; then it has none.
    for at, declared, minimum in ((0, "ill,well", 2), (1, "", 0)):
        (site / "well" / f"{at}.png").write_bytes(b"no picture")
        config = RunConfig(
            data=str(site), class_names=declared, min_per_class=minimum, image_size=16,
            no_cache=True,
        )  # fmt: skip
        inputs = prepare_inputs(config, open_data(config, own=True), None, own=True)
        assert inputs.dataset.classes == ("ill", "well")
        assert inputs.dataset.labels.tolist() == [0, 0, 0]
        assert "no training example of the class well" in absent_note(inputs.dataset)


def test_of_a_whole_data_set_every_class_needs_its_rows(tmp_path: Path) -> None:
    both = _pictures(tmp_path / "both", {"ill": 3, "well": 2})
    assert _open(both, own=False, declared_classes=("well", "ill")).classes == ("ill", "well")
    with pytest.raises(UsageError, match="class odd has no images, but every class needs at least"):
        _open(both, own=False, declared_classes=("well", "ill", "odd"))


@pytest.mark.parametrize(
    ("own", "declared", "found"),
    [
        (("2", "10"), ("10", "2", "1"), ("1", "2", "10")),
        (("b", "a"), ("a", "b"), ("b", "a")),
        (("b", "a"), ("c", "a", "b"), ("a", "b", "c")),
    ],
)
def test_classes_come_in_the_order_of_data_that_has_them_all(
    own: tuple[str, ...], declared: tuple[str, ...], found: tuple[str, ...]
) -> None:
    data = Dataset("few", own, np.array([0, 1, 1]), np.zeros((3, 2), np.float32),
                   np.zeros(3, bool), None, ["0", "1", "2"])  # fmt: skip
    read = with_declared_classes(data, declared, "auto")
    assert read.classes == found
    assert [read.classes[label] for label in read.labels] == [own[0], own[1], own[1]]


def test_names_that_differ_by_case_alone_are_joined_if_asked(tmp_path: Path) -> None:
    site = _pictures(tmp_path / "site", {"Lung_Cancer": 2, "well": 2})
    declared = ("lung cancer", "well", "odd")
    assert _open(site, declared_classes=declared, classes="fold-case").classes == (
        ("lung cancer", "odd", "well")
    )
    with pytest.raises(UsageError, match=r"Lung_Cancer is none of .* did you mean 'lung cancer'"):
        _open(site, declared_classes=declared)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a,b", ("a", "b")),
        (' lung cancer ,"a, b"', ("lung cancer", "a, b")),
        ("e\u0301,x", ("\u00e9", "x")),
        ("", ()),
    ],
)
def test_names_are_parted_by_commas(text: str, found: tuple[str, ...]) -> None:
    assert RunConfig(class_names=text).declared_classes == found


@pytest.mark.parametrize("text", ["a", "a,,b", '"a', "a\nb,c", ",".join(map(str, range(10_001)))])
def test_what_is_no_list_of_names_is_refused(text: str) -> None:
    with pytest.raises(FedtlError, match="class-names is not a list of 2 to 10,000 names"):
        RunConfig(class_names=text)
    with pytest.raises(FedtlError, match="class-names has 'a' 2 times"):
        RunConfig(class_names="a,b,a")
