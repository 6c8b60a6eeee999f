"""Trees of folders that lack something, or hold more than pictures to classify."""

from __future__ import annotations

from pathlib import Path

import pytest
from folder_trees import names_in, opened_as, tops_of, tree

from fedtl.data.emptied import note_of
from fedtl.errors import UsageError


@pytest.mark.parametrize("lone", ["test", "val"])
def test_a_lone_test_split_is_all_of_the_data_and_that_is_told(lone: str, tmp_path: Path) -> None:
    data = opened_as(tree(tmp_path / "d", names_in(lone, "cat dog")))
    assert data.classes == ("cat", "dog") and not data.test.any()
    [note] = data.notes
    assert note.startswith(f"all images lie in the folder {lone} and there is no training")
    assert opened_as(tmp_path / "d" / lone).notes == ()
    assert opened_as(tree(tmp_path / "e", names_in("train", "cat dog"))).notes == ()


def test_validation_data_without_training_data_are_trained_on_and_that_is_told(
    tmp_path: Path,
) -> None:
    data = opened_as(tree(tmp_path / "d", names_in("val test", "cat dog")))
    assert tops_of(data, data.test) == {"test"} and len(data.training) == 4
    assert data.notes == (
        "no folder is named like training data, so val is trained on and test scored",
    )


@pytest.mark.parametrize("empty", ["test", "test/cat", "val"])
def test_an_empty_split_is_told(empty: str, tmp_path: Path) -> None:
    folder = tree(tmp_path / "d", names_in("train", "cat dog"))
    (folder / empty).mkdir(parents=True)
    assert note_of(opened_as(folder)) == f"split {empty.split('/')[0]} has none left"


@pytest.mark.parametrize("tops", ["images_001 images_002", "HAM_images_part_1 HAM_images_part_2"])
@pytest.mark.parametrize("inner", [(), ("images",)])
def test_parts_of_a_collection_are_no_classes(
    tops: str, inner: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tree(tmp_path / "d", names_in(tops, *inner))
    with pytest.raises(UsageError, match=r"parts of one collection, .*--labels FILE.csv"):
        opened_as(folder)
    assert opened_as(folder, layout="class").classes == tuple(tops.split())


@pytest.mark.parametrize(
    ("stray", "layout"),
    [
        ([("train test", "cat dog"), ("docs",)], "split/class"),
        ([("train test", "cat dog"), ()], "split/class"),
        ([("train", "cat dog ox"), ("Test",), ("Meta",)], "split/class"),
        ([("cat dog",), ()], "class"),
        ([("bern york", "cat dog"), ()], "site/class"),
        ([("cat dog ox",), ("cat", "more")], "class"),
        ([("cat dog", "images"), ()], "class"),
    ],
)
def test_the_remedy_for_mixed_layouts_works(
    stray: list[tuple[str, ...]], layout: str, tmp_path: Path
) -> None:
    folder = tree(tmp_path / "d", [name for levels in stray for name in names_in(*levels)])
    with pytest.raises(UsageError, match=rf"; --layout {layout} (leaves|takes) ") as caught:
        opened_as(folder)
    data = opened_as(folder, layout=layout)
    assert data.classes == (("cat", "dog", "ox") if "ox" in str(stray) else ("cat", "dog"))
    assert ("leaves files outside it aside" in str(caught.value)) == bool(data.left_aside)


def test_sites_of_one_unicode_name_are_one_and_of_another_case_are_told(tmp_path: Path) -> None:
    names = [*names_in("train", "zürich Bern", "cat dog")]
    names += names_in("test", "zu\u0308rich bern", "cat dog")
    data = opened_as(tree(tmp_path / "d", names), layout="split/site/class")
    assert data.sites is not None and set(data.sites.tolist()) == {"zürich", "Bern", "bern"}
    [note] = data.notes
    assert note.startswith("the sites 'Bern' and 'bern' differ only by case or space")


@pytest.mark.parametrize(
    ("lower", "grouped"), [("P01 P02 P03", True), ("2021-01-02 2021-01-03", False), ("a b", False)]
)
def test_what_is_called_as_a_finding_is_a_class(lower: str, grouped: bool, tmp_path: Path) -> None:
    data = opened_as(tree(tmp_path / "d", names_in("benign malignant", lower)))
    assert data.classes == ("benign", "malignant") and data.sites is None
    assert (data.groups is not None) == grouped
    [note] = data.notes
    assert f"--layout {'class/group' if grouped else 'class'} settles that" in note
    both = opened_as(tree(tmp_path / "e", names_in("good bad", "ok defect")))
    assert both.classes == ("defect", "ok") and both.sites is not None


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (("cat dog", "train test extra"), "--layout class/split reads"),
        (("bern york", "train val extra", "cat dog"), "--layout site/split/class reads"),
        (("test1 test2", "cat dog"), "nothing is training data; --layout -/class takes all"),
    ],
)
def test_splits_in_doubt_are_refused(levels: tuple[str, ...], said: str, tmp_path: Path) -> None:
    folder = tree(tmp_path / "d", names_in(*levels))
    with pytest.raises(UsageError, match=said) as caught:
        opened_as(folder)
    remedy = str(caught.value).partition("--layout ")[2].split()[0]
    assert opened_as(folder, layout=remedy).classes == ("cat", "dog")


def test_a_folder_of_documents_is_no_site(tmp_path: Path) -> None:
    folder = tree(tmp_path / "d", names_in("bern york", "cat dog"))
    (folder / "lists").mkdir()
    (folder / "lists" / "all.txt").write_text("x")
    assert note_of(opened_as(folder)) == "1 file left aside: .txt (1)"


# Masks


@pytest.mark.parametrize(
    "names",
    [
        names_in("cat dog", "images masks"),
        names_in("cat dog", "image label"),
        [*names_in("train test", "cat dog"), *names_in("ground_truth", "cat dog")],
        [*names_in("train_images test_images", "cat dog"), *names_in("train_masks", "cat dog")],
        names_in("images annotations", "train test", "cat dog"),
        [f"{c}/{n}{end}.png" for c in ("cat", "dog") for n in (1, 2) for end in ("", "_mask")],
        [f"{c}/{n}{end}.png" for c in ("cat", "dog") for n in (1, 2) for end in ("", "_Mask_1")],
    ],
)
def test_masks_are_no_pictures_to_classify(names: list[str], tmp_path: Path) -> None:
    data = opened_as(tree(tmp_path / "d", names))
    assert data.classes == ("cat", "dog") and data.sites is None
    marking = ("mask", "label", "truth", "annotation")
    assert {one.path for one in data.left_aside} == {
        name for name in names if any(word in name.lower() for word in marking)
    }
    assert f"{len(data.left_aside)} mask pictures, first " in data.notes[-1]
    whole = opened_as(tmp_path / "d", layout="class")
    assert len(whole) == len(names)


@pytest.mark.parametrize(
    "classes", ["mask no_mask", "with_mask without_mask", "face mask", "gt ok"]
)
def test_masks_may_be_classes(classes: str, tmp_path: Path) -> None:
    for levels in (("train test", classes), (classes,)):
        data = opened_as(tree(tmp_path / str(len(levels)), names_in(*levels)))
        assert data.classes == tuple(classes.split()) and data.left_aside == ()
