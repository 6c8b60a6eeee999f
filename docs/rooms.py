"""Draws the rooms of the code from its imports: ``python docs/rooms.py``.

Reads the order of rooms in ARCHITECTURE.md, writes the table there and the picture beside this
script, and prints today's imports upwards and circles, which a test holds to a list. Every import
counts: one for types alone, within a function or by ``import_module`` makes a file no less
dependent.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "ARCHITECTURE.md"
PICTURE = PROJECT / "docs" / "rooms.svg"
_PACKAGES = ("fedtl", "strategies", "simulations")
_LIBRARIES = {"flwr": "Flower", "ray": "Ray", "torch": "PyTorch"}
_HEADING = "\n## The rooms\n"

Graph = Mapping[str, frozenset[str]]
Arrow = tuple[int, int]


@dataclass(frozen=True)
class Room:
    """A room: its name, and the packages and files of it."""

    name: str
    parts: tuple[str, ...]


def modules() -> dict[str, Path]:
    """Return the file of every module, by its dotted name."""
    found = {}
    for package in _PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _named(node: ast.AST, package: str) -> Iterator[tuple[str, ...]]:
    """Yield what each name that a node imports may be called, the likeliest first."""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if called == "import_module" and isinstance(node.args[0], ast.Constant):
            yield (str(node.args[0].value),)
        return
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
        return
    if not isinstance(node, ast.ImportFrom):
        return
    above = package.split(".")[: 1 - node.level or None] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    yield from ((f"{base}.{alias.name}", base) for alias in node.names)


def imports(files: Mapping[str, Path]) -> tuple[Graph, Graph]:
    """Return for every module the modules, and the libraries of others, that it imports."""
    ours, theirs = {}, {}
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        named = [names for node in nodes for names in _named(node, package)]
        found = {next((name for name in names if name in files), "") for names in named}
        ours[module] = frozenset(found - {"", module})
        tops = {names[-1].partition(".")[0] for names in named}
        theirs[module] = frozenset(_LIBRARIES[top] for top in tops & _LIBRARIES.keys())
    return ours, theirs


def order(page: str) -> list[Room]:
    """Return the rooms as the page lists them, the highest first."""
    table = page.partition("\n## The order\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|$", table, re.MULTILINE)
    return [Room(name, tuple(re.findall(r"`([\w.]+)`", parts))) for name, parts in rows]


def placed(rooms: list[Room], files: Mapping[str, Path]) -> dict[str, str]:
    """Return the room of every module: that of its own name, or of the package nearest to it.

    Raises:
        SystemExit: The page names no room for a module, or a part that is not there.
    """
    named = {part: room.name for room in rooms for part in room.parts}
    if gone := named.keys() - files.keys():
        sys.exit(
            f"{', '.join(sorted(gone))}: named in ARCHITECTURE.md, 'The order', but not there."
        )
    places = {}
    for module in files:
        nearest = module
        while nearest not in named:
            nearest = nearest.rpartition(".")[0]
            # Listed by itself it means its own file: a new file beside it needs a room of its own.
            if nearest in ("", "fedtl"):
                sys.exit(f"{module} lies in no room; add it to ARCHITECTURE.md, 'The order'.")
        places[module] = named[nearest]
    return places


def between(graph: Graph, places: Mapping[str, str]) -> Graph:
    """Return which rooms every room imports."""
    names = dict.fromkeys(places.values())
    return {
        name: frozenset(
            places[to]
            for module, imported in graph.items()
            for to in imported
            if places[module] == name != places[to]
        )
        for name in names
    }


def upwards(graph: Graph, places: Mapping[str, str], rooms: list[Room]) -> list[str]:
    """Return the imports of files in higher rooms, as ``file (room) imports file (room)``."""
    rank = {room.name: place for place, room in enumerate(rooms)}
    return [
        f"{module} ({places[module]}) imports {to} ({places[to]})"
        for module, imported in graph.items()
        for to in sorted(imported)
        if rank[places[to]] < rank[places[module]]
    ]


def circles(graph: Graph) -> list[list[str]]:
    """Return the sets of names that all reach one another, by Kosaraju's two searches."""
    backwards: dict[str, set[str]] = {name: set() for name in graph}
    for name, imported in graph.items():
        for to in imported:
            backwards[to].add(name)

    def reached(start: str, along: Mapping[str, frozenset[str] | set[str]]) -> set[str]:
        seen, waiting = {start}, [start]
        while waiting:
            new = along[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    left, found = set(graph), []
    for name in graph:
        if name in left:
            group = reached(name, graph) & reached(name, backwards)
            left -= group
            if len(group) > 1:
                found.append(sorted(group))
    return found


def _arrows(rooms: list[Room], graph: Graph) -> tuple[list[Arrow], list[Arrow]]:
    """Return the arrows down, without those that others imply, and the arrows up; by places."""
    rank = {room.name: place for place, room in enumerate(rooms)}
    down = {name: {to for to in graph[name] if rank[to] > rank[name]} for name in rank}
    below: dict[str, set[str]] = {}
    for name in reversed(rank):
        below[name] = down[name].union(*(below[to] for to in down[name]))
    plain, upwards = [], []
    for name in rank:
        implied = set[str]().union(*(below[to] for to in down[name]))
        plain += [(rank[name], rank[to]) for to in rank if to in down[name] - implied]
        upwards += [(rank[name], rank[to]) for to in rank if to in graph[name] - down[name]]
    return plain, upwards


def picture(rooms: list[Room], graph: Graph) -> str:
    """Return an SVG: the rooms in their order, arrows down on the right, up on the left."""
    plain, upwards = _arrows(rooms, graph)
    left, width, step, height = 190, 140, 46, 30
    right = left + width
    drawn = []
    for arrows, side, away, colour in (
        (plain, right, 1, "#3949ab"),
        (upwards, left, -1, "#c62828"),
    ):
        for start, end in arrows:
            # Leaving and arriving at different heights, arrows of one room do not hide each other.
            lower = 1 if end > start else -1
            y0, y1 = (20 + step * at + height // 2 for at in (start, end))
            y0, y1 = y0 + 7 * lower, y1 - 7 * lower
            bow = side + away * (18 + 15 * abs(end - start))
            path = f"M{side},{y0} C{bow},{y0} {bow},{y1} {side + 5 * away},{y1}"
            tip = f"M{side},{y1} l{9 * away},-4 v8 z"
            drawn.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            drawn.append(f'<path d="{tip}" fill="{colour}"/>')
    for place, room in enumerate(rooms):
        y = 20 + step * place
        box = f'x="{left}" y="{y}" width="{width}" height="{height}" rx="5"'
        drawn.append(f'<rect {box} fill="#e8eaf6" stroke="#3949ab"/>')
        middle = f'x="{left + width // 2}" y="{y + 20}" text-anchor="middle"'
        drawn.append(f"<text {middle}>{room.name}</text>")
    size = f"{2 * left + width} {step * len(rooms) + 24}"
    font = 'font-family="sans-serif" font-size="14"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {font}>'
    page = '<rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([opening, page, *drawn, "</svg>", ""])


def _table(rooms: list[Room], graph: Graph, used: Mapping[str, set[str]]) -> str:
    names = [room.name for room in rooms]
    rows = ["| room | imports | uses |", "|---|---|---|"]
    for place, room in enumerate(rooms):
        down = [name for name in names[place + 1 :] if name in graph[room.name]]
        cells = [
            f"`{room.name}`",
            ", ".join(down),
            ", ".join(sorted(used[room.name])),
        ]
        rows.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(rows)


def drawn(page: str) -> tuple[str, str]:
    """Return the page with the table, and the picture, that today's imports give."""
    rooms, files = order(page), modules()
    places = placed(rooms, files)
    ours, theirs = imports(files)
    graph = between(ours, places)
    used: dict[str, set[str]] = {room.name: set() for room in rooms}
    for module, libraries in theirs.items():
        used[places[module]] |= libraries
    told = f"""
`python docs/rooms.py` makes picture and table from the imports, and a test holds them to the code.
Blue arrows go from a room to a lower one that it imports; arrows that others imply are left out. An
import upwards is a red arrow. A test forbids these, and circles of rooms and of files.

![The rooms from top to bottom, with an arrow for every import](docs/rooms.svg)

*Imports* are the rooms that a room imports today; *uses* says where Flower, Ray and PyTorch are
imported.

{_table(rooms, graph, used)}
"""
    return page.partition(_HEADING)[0] + _HEADING + told, picture(rooms, graph)


def main() -> None:
    """Write page and picture, and print what goes against the order."""
    page, svg = drawn(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    PICTURE.write_text(svg, encoding="utf-8")
    rooms, files = order(page), modules()
    ours, _ = imports(files)
    places = placed(rooms, files)
    up = upwards(ours, places, rooms)
    print(f"imports upwards: {len(up) or 'none'}", *up, sep="\n  ")
    for what, graph in (("rooms", between(ours, places)), ("files", ours)):
        found = circles(graph)
        print(f"circles of {what}: {len(found) or 'none'}")
        for names in found:
            print(f"  {len(names)}: {', '.join(names)}")


if __name__ == "__main__":
    main()
