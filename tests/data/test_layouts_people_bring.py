"""Trees of folders as data sets and hospitals have them: splits, doubles, levels, unlabelled."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from folder_trees import names_in, opened_as, tops_of, tree

from fedtl.data.split_names import split_role
from fedtl.errors import UsageError


@pytest.mark.parametrize(
    ("names", "role"),
    [
        ("train Training TRAIN imagesTr train_images seg_train train2017 training-set trainval "
         "TrainSet ISIC2018_Task3_Training_Input trn traindata", "train"),
        ("crossval val VALID valid_images Validation dev Devel seg_val val2017", "validation"),
        ("test Testing TEST test1 test-multiple_fruits TestData evaluation imagesTs holdout",
         "test"),
        ("Trainingsdaten entraînement trainingsbilder entrenamiento", "train"),
        ("Testdaten testbilder", "test"),
        ("seg_pred unlabelled Unlabeled_images", "unlabelled"),
        ("steam strain contest value valley device latest bern york evaluated Trainor", ""),
        ("train_or_test", ""),
    ],
)  # fmt: skip
def test_names_of_splits(names: str, role: str) -> None:
    assert {name: split_role(name) for name in names.split()} == dict.fromkeys(names.split(), role)


@pytest.mark.parametrize(
    ("splits", "tested"),
    [
        ("Training Testing", "Testing"),
        ("TRAIN Test", "Test"),
        ("train_images test_images valid_images", "test_images"),
        ("seg_train seg_test", "seg_test"),
        ("train dev", "dev"),
        ("train valid test", "test"),
        ("TrainData ValidData", "ValidData"),
    ],
)
def test_splits_by_any_name(splits: str, tested: str, tmp_path: Path) -> None:
    data = opened_as(tree(tmp_path / "d", names_in(splits, "cat dog")))
    assert data.classes == ("cat", "dog")
    assert data.sites is None
    assert tops_of(data, data.test) == {tested}
    assert data.notes == ()


@pytest.mark.parametrize("tops", ["train extra", "train test bern", "Testing bern york"])
def test_tops_of_which_some_are_splits_are_refused_with_both_readings(
    tops: str, tmp_path: Path
) -> None:
    folder = tree(tmp_path / "d", names_in(tops, "cat dog"))
    with pytest.raises(UsageError, match=r"--layout split/class .* --layout site/class"):
        opened_as(folder)
    sites = opened_as(folder, layout="site/class").sites
    assert sites is not None and set(sites.tolist()) == set(tops.split())
    if "train" in tops:
        data = opened_as(folder, layout="split/class/file")
        assert data.sites is None
        assert tops_of(data, data.test) == {"test"} & set(tops.split())
        assert any("counts as training data" in note for note in data.notes)


@pytest.mark.parametrize(
    ("levels", "layout", "expected"),
    [
        (("bern york", "train test", "cat dog"), "", "site/split/class"),
        (("train test", "bern york", "cat dog"), "", "split/site/class?"),
        (("train test", "bern york", "cat dog"), "split/client/class", "split/site/class"),
        (("train test", "cat dog", "client_1 client_2"), "", "split/class/site"),
        (("train test", "hospital_a hospital_b", "cat dog"), "", "split/site/class"),
        (("cat dog", "train test"), "", "class/split"),
        (("train test", "cat dog", "patient_1 patient_2"), "", "split/class/group"),
        (("bern york", "train test", "cat dog", "patient_1 patient_2"), "",
         "site/split/class/group"),
        (("cat dog", "hospital_a hospital_b"), "", "class/site"),
        (("cat dog", "images"), "", "class"),
        (("cat dog", "tumor"), "", "class?"),
        (("bern york", "images", "cat dog"), "", "site/-/class"),
        (("bern york", "2019", "images", "cat dog"), "", "site/-/-/class?"),
        (("train test", "images", "cat dog"), "", "split/-/class"),
        (("bern york", "train", "cat dog"), "", "site/-/class?"),
        (("client_0 client_1", "train test", "images", "cat dog"), "", "site/split/-/class"),
        (("fold1 fold2 fold3", "cat dog"), "", "-/class?"),
        (("fold_0 fold_1", "train test", "cat dog"), "", "-/split/class?"),
        (("images_001 images_002", "cat dog"), "", "-/class?"),
        (("bern york", "p001 p002 p003", "cat dog"), "", "site/group/class?"),
        (("bern york", "cat dog", "p001 p002 p003"), "", "site/class/group?"),
        (("8863 8864 8865", "cat dog"), "", "site/class?"),
        (("2019 2020 2021", "cat dog"), "", "site/class"),
        (("cat dog", "left right"), "", "class/-?"),
        (("cat dog", "40X 100X"), "", "class/-?"),
        (("40X 100X", "cat dog"), "", "site/class"),
        (("cat dog", "p q", "r s"), "class/-/group", "class/-/group"),
        (("cat dog", "p q", "r s", "t u", "v w"), "class", "class"),
    ],
)  # fmt: skip
def test_levels(levels: tuple[str, ...], layout: str, expected: str, tmp_path: Path) -> None:
    """Expected is the layout that gives the same data; a question mark: that is told."""
    folder = tree(tmp_path / "d", names_in(*levels))
    found, told = opened_as(folder, layout=layout), opened_as(folder, layout=expected.rstrip("?"))
    where = dict(zip(expected.rstrip("?").split("/"), levels, strict=False))
    for data in (found, told):
        assert data.classes == ("cat", "dog")
        for name, of in (("site", data.sites), ("group", data.groups)):
            assert (of is not None) == (name in where)
        if data.sites is not None:
            assert set(data.sites.tolist()) == set(where["site"].split())
        assert data.test.any() == ("split" in where)
        assert all("/test/" in f"/{key}" for key, t in zip(data.keys, data.test, strict=True) if t)
    assert np.array_equal(found.labels, told.labels)
    assert bool(found.notes) == expected.endswith("?")


def test_hospitals_number_their_own_patients_below_a_split(tmp_path: Path) -> None:
    levels = "bern york", "train test", "cat dog", "patient_1 patient_2"
    data = opened_as(tree(tmp_path / "d", names_in(*levels)))
    assert data.groups is not None
    assert set(data.groups.tolist()) == {f"{s}/patient_{n}" for s in ("bern", "york") for n in "12"}


@pytest.mark.parametrize(
    ("layout", "complaint"),
    [
        ("split/klass", "klass is not a level"),
        ("site", "names no level class"),
        ("class/class", "two levels are class"),
        ("site/client/class", "two levels are site"),
        ("site/group/class", "no file of .* lies 3 folders deep"),
        ("split/class", "splits are called train"),
    ],
)
def test_layouts_that_cannot_be(layout: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        opened_as(tree(tmp_path / "d", names_in("bern york", "cat dog")), layout=layout)


def test_a_layout_leaves_pictures_outside_its_folders_aside(tmp_path: Path) -> None:
    names = [*names_in("cat dog", "a b"), "logo.png", "cat/cover.png"]
    data = opened_as(tree(tmp_path / "d", names), layout="class/group")
    assert {one.path for one in data.left_aside} == {"logo.png", "cat/cover.png"}
    assert len(data) == 8
    [note] = data.notes
    assert note.startswith("2 pictures outside the layout's folders, first cat/cover.png")


# Sites or classes on top


def test_tops_with_classes_of_their_own_each_are_classes(tmp_path: Path) -> None:
    names = [*names_in("ill", "adenoma carcinoma"), *names_in("well", "young old")]
    folder = tree(tmp_path / "d", names)
    data = opened_as(folder)
    assert (data.classes, data.sites, data.groups) == (("ill", "well"), None, None)
    [note] = data.notes
    assert "--layout class settles that" in note and "--layout site/class" in note
    assert opened_as(folder, layout="class").notes == ()
    assert len(opened_as(folder, layout="site/class").classes) == 4


def test_sites_that_are_called_so_may_have_classes_of_their_own(tmp_path: Path) -> None:
    names = [*names_in("client_0", "cat dog"), *names_in("client_1", "ox emu")]
    data = opened_as(tree(tmp_path / "d", names))
    assert data.sites is not None and len(data.classes) == 4


def test_one_top_with_classes_of_its_own_is_told(tmp_path: Path) -> None:
    names = [*names_in("bern york", "cat dog"), *names_in("kiev", "ox emu")]
    data = opened_as(tree(tmp_path / "d", names))
    assert data.sites is not None and len(data.classes) == 4
    [note] = data.notes
    assert note.startswith("folder kiev holds classes that no other folder has")


@pytest.mark.parametrize(("lower", "told"), [("P01 P02 P03", 1), ("0 1 2", 0), ("P01 P02", 0)])
def test_classes_that_may_be_patients_are_told(lower: str, told: int, tmp_path: Path) -> None:
    folder = tree(tmp_path / "d", names_in("north south", lower))
    data = opened_as(folder)
    assert data.classes == tuple(lower.split())
    assert len(data.notes) == told
    assert all("--layout class/group" in note for note in data.notes)
    groups = opened_as(folder, layout="class/group").groups
    assert groups is not None and set(groups.tolist()) == set(lower.split())


def test_case_does_not_hide_that_sites_share_classes(tmp_path: Path) -> None:
    names = [*names_in("bern", "cat dog"), *names_in("york", "Cat Dog")]
    with pytest.raises(UsageError, match="'Cat' and 'cat' differ only by case or space"):
        opened_as(tree(tmp_path / "d", names))
    data = opened_as(tmp_path / "d", classes="fold-case")
    assert data.sites is not None and data.classes == ("Cat", "Dog")


# Doubled folders


@pytest.mark.parametrize("around", ["", "pets/", "pets/pets/"])
def test_a_doubled_top_folder_says_nothing(around: str, tmp_path: Path) -> None:
    names = [f"{around}{name}" for name in names_in("cat dog")]
    assert opened_as(tree(tmp_path / "pets", names)).classes == ("cat", "dog")


def test_each_split_in_a_folder_of_its_own_name(tmp_path: Path) -> None:
    names = [f"seg_{s}/seg_{s}/{name}" for s in ("train", "test") for name in names_in("cat dog")]
    names += [f"seg_pred/seg_pred/{number}.png" for number in range(3)]
    data = opened_as(tree(tmp_path / "d", names))
    assert data.classes == ("cat", "dog")
    assert tops_of(data, data.test) == {"seg_test"}
    assert [one.kind for one in data.left_aside] == ["unlabelled picture"] * 3
    [note] = data.notes
    assert note.startswith("3 unlabelled pictures, first seg_pred/seg_pred/0.png")


def test_a_copy_of_everything_within_is_taken_once(tmp_path: Path) -> None:
    folder = tree(tmp_path / "pets", names_in("cat dog"))
    shutil.copytree(folder, tmp_path / "copy")
    shutil.move(tmp_path / "copy", folder / "pets")
    data = opened_as(folder)
    assert list(data.keys) == sorted(names_in("cat dog"))
    assert {one.path for one in data.left_aside} == {f"pets/{name}" for name in data.keys}
    [note] = data.notes
    assert note.startswith("4 files lie there twice")


def test_what_only_looks_like_a_copy_is_kept(tmp_path: Path) -> None:
    names = names_in("cat dog")
    folder = tree(tmp_path / "pets", [*names, *(f"pets/{name}" for name in names)])
    data = opened_as(folder)  # same names, other pictures
    assert (len(data), data.classes, data.left_aside) == (8, ("cat", "dog"), ())
    (folder / "pets").rename(folder / "other")
    with pytest.raises(UsageError, match="mixes layouts"):
        opened_as(folder)


# Tests without labels


@pytest.mark.parametrize("where", ["test", "test/unknown", "Testing/Testing", "test_images/all"])
@pytest.mark.parametrize("valid", [False, True])
def test_unlabelled_test_folders(where: str, valid: bool, tmp_path: Path) -> None:
    splits = "train valid" if valid else "train"
    names = [*names_in(splits, "cat dog"), *(f"{where}/{n}.png" for n in range(5))]
    data = opened_as(tree(tmp_path / "d", names))
    assert (data.classes, data.sites) == (("cat", "dog"), None)
    assert tops_of(data, data.test) == ({"valid"} if valid else set())
    assert [one.kind for one in data.left_aside] == ["unlabelled picture"] * 5
    [note] = data.notes
    assert "unlabelled" in note and "5" in note


def test_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "d", names_in("train test1"))
    with pytest.raises(UsageError, match="no folder within them names a class"):
        opened_as(folder)
    assert opened_as(folder, layout="class").classes == ("test1", "train")


@pytest.mark.parametrize("tops", ["labelled", "a b", "train test"])
def test_a_folder_called_unlabelled_is_no_class(tops: str, tmp_path: Path) -> None:
    deeper = () if tops == "a b" else ("cat dog",)
    names = [*names_in(tops, *deeper), *names_in("Unlabeled_images", files=3)]
    data = opened_as(tree(tmp_path / "d", names))
    assert len(data.classes) == 2
    assert [one.kind for one in data.left_aside] == ["unlabelled picture"] * 3
    assert opened_as(tree(tmp_path / "e", names_in("cat unlabelled"))).classes == (
        "cat",
        "unlabelled",
    )
