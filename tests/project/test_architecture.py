"""ARCHITECTURE.md: the code keeps to its order, and its picture is of today's imports."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ORDER = """
## The order

| room | what it is for | what lies in it |
|---|---|---|
| `attic` | | `one` |
| `hall` | | `one.b`, `two` |

## The rooms
"""


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    """The script, which is no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        specification = spec_from_file_location("rooms", PROJECT / "docs" / "rooms.py")
        assert specification is not None
        assert specification.loader is not None
        module = module_from_spec(specification)
        # Dataclasses look their module up.
        patch.setitem(sys.modules, "rooms", module)
        specification.loader.exec_module(module)
    return module


def test_the_picture_is_of_the_imports_of_today(rooms: ModuleType) -> None:
    page = rooms.PAGE.read_text(encoding="utf-8")
    told, picture = rooms.drawn(page)
    again = "python docs/rooms.py draws it anew"
    assert told == page, again
    assert rooms.PICTURE.read_text(encoding="utf-8") == picture, again


def test_nothing_goes_against_the_order(rooms: ModuleType) -> None:
    listed, files = rooms.order(rooms.PAGE.read_text(encoding="utf-8")), rooms.modules()
    places, (ours, _) = rooms.placed(listed, files), rooms.imports(files)
    assert len(ours) > 300
    assert rooms.upwards(ours, places, listed) == []
    assert rooms.circles(rooms.between(ours, places)) == []
    assert rooms.circles(ours) == []


def test_one_file_imports_by_name(rooms: ModuleType) -> None:
    """Beside what finds fedtl's own names late: its commands and its public names."""
    by_name = ("import_module(", "__import__(")
    found = {
        name
        for name, path in rooms.modules().items()
        if any(call in path.read_text(encoding="utf-8") for call in by_name)
    }
    assert found == {"fedtl", "fedtl.callable_module", "fedtl.console", "fedtl.registry"}


def test_what_runs_at_a_site_reaches_no_scenario_and_no_server(rooms: ModuleType) -> None:
    ours, _ = rooms.imports(rooms.modules())
    start = {module for module in ours if module.startswith("fedtl.client.")}
    assert {"fedtl.client.answers", "fedtl.client.own_data"} <= start
    reached, waiting = set(start), list(start)
    while waiting:
        new = ours[waiting.pop()] - reached
        reached |= new
        waiting += new
    assert "fedtl.privacy.egress" in reached
    others = ("scenario", "federation", "engine", "runs", "observers", "report", "comparison")
    found = {module.split(".")[1] for module in reached if module.startswith("fedtl.")}
    assert not found & set(others)


def test_imports_upwards_are_found(rooms: ModuleType) -> None:
    graph = {"one": {"two", "two.c"}, "one.b": {"two"}, "two": {"one"}, "two.c": {"two", "one.b"}}
    places = {"one": "attic", "one.b": "hall", "two": "hall", "two.c": "hall"}
    found = rooms.upwards(graph, places, rooms.order(ORDER))
    assert found == ["two (hall) imports one (attic)"]


def test_every_kind_of_import_is_seen(rooms: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("from .low import thing\nfrom . import high\n")
    (tmp_path / "low.py").write_text("import torch.nn\n\ndef later():\n    import pack.high\n")
    (tmp_path / "high.py").write_text("if TYPE_CHECKING:\n    from pack import low\n")
    (tmp_path / "called.py").write_text(
        "importlib.import_module('pack.low')\nimport_module(name)\n"
    )
    names = {"pack": "__init__.py", "pack.low": "low.py", "pack.high": "high.py"}
    names["pack.called"] = "called.py"
    ours, theirs = rooms.imports({name: tmp_path / file for name, file in names.items()})
    low, high = {"pack.low"}, {"pack.high"}
    assert ours == {"pack": low | high, "pack.low": high, "pack.high": low, "pack.called": low}
    assert {name: found for name, found in theirs.items() if found} == {"pack.low": {"PyTorch"}}


def test_arrows_that_others_imply_are_left_out(rooms: ModuleType) -> None:
    three = [rooms.Room(name, (name,)) for name in "abc"]
    graph = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset("a")}
    svg = rooms.picture(three, graph)
    assert svg.count('fill="#3949ab"') == 2
    assert svg.count('fill="#c62828"') == 1
    assert [name for name in "abc" if f">{name}<" in svg] == list("abc")


def test_circles_are_found(rooms: ModuleType) -> None:
    graph = {"a": "bd", "b": "c", "c": "a", "d": "ce", "e": "", "f": "g", "g": "fe"}
    found = rooms.circles({name: frozenset(to) for name, to in graph.items()})
    assert found == [["a", "b", "c", "d"], ["f", "g"]]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("one", "one.b", "two", "three"), "three lies in no room"),
        (("one", "one.b", "two", "two.c"), ""),
        (("one", "one.b"), "two: named in"),
    ],
)
def test_every_file_has_a_room(rooms: ModuleType, files: tuple[str, ...], said: str) -> None:
    paths = {name: Path(name) for name in files}
    if said:
        with pytest.raises(SystemExit, match=said):
            rooms.placed(rooms.order(ORDER), paths)
    else:
        expected = {"one": "attic", "one.b": "hall", "two": "hall", "two.c": "hall"}
        assert rooms.placed(rooms.order(ORDER), paths) == expected
