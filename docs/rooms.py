"""Draws the rooms of the code from its imports: ``python docs/rooms.py``.

Writes picture and table into ARCHITECTURE.md, whose order of rooms it reads there, and prints
today's circles of rooms and of files. Every import counts: one for types alone, or within a
function, makes a file no less dependent on another.
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
_PACKAGES = ("fedtl", "strategies", "simulations")
_LIBRARIES = {"flwr": "Flower", "ray": "Ray", "torch": "PyTorch"}
_HEADING = "\n## The rooms\n"

Graph = Mapping[str, frozenset[str]]


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


def _named(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, ...]]:
    """Yield what each name that is imported may be called, the likeliest first."""
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
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
        named = [
            names
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
            for names in _named(node, package)
        ]
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


def _picture(rooms: list[Room], graph: Graph) -> str:
    """Return a Mermaid chart; an arrow that others imply is left out."""
    rank = {room.name: place for place, room in enumerate(rooms)}
    down = {name: {to for to in graph[name] if rank[to] > rank[name]} for name in rank}
    below: dict[str, set[str]] = {}
    for name in reversed(rank):
        below[name] = down[name].union(*(below[to] for to in down[name]))
    lines = ["```mermaid", "flowchart TD"]
    for name in rank:
        implied = set[str]().union(*(below[to] for to in down[name]))
        lines += [f"    {name} --> {to}" for to in rank if to in down[name] - implied]
    for name in rank:
        lines += [f"    {name} -.-> {to}" for to in rank if to in graph[name] - down[name]]
    return "\n".join([*lines, "```"])


def _table(rooms: list[Room], graph: Graph, used: Mapping[str, set[str]]) -> str:
    names = [room.name for room in rooms]
    rows = ["| room | imports | upwards | uses |", "|---|---|---|---|"]
    for place, room in enumerate(rooms):
        down = [name for name in names[place + 1 :] if name in graph[room.name]]
        up = [name for name in names[:place] if name in graph[room.name]]
        cells = [
            f"`{room.name}`",
            ", ".join(down),
            ", ".join(f"**{name}**" for name in up),
            ", ".join(sorted(used[room.name])),
        ]
        rows.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(rows)


def drawn(page: str) -> str:
    """Return the page with the picture and the table that today's imports give."""
    rooms, files = order(page), modules()
    places = placed(rooms, files)
    ours, theirs = imports(files)
    graph = between(ours, places)
    used: dict[str, set[str]] = {room.name: set() for room in rooms}
    for module, libraries in theirs.items():
        used[places[module]] |= libraries
    told = f"""
`python docs/rooms.py` makes this section from the imports, and a test holds it to them. An arrow
goes from a room to one that it imports; arrows that others imply are left out. A dashed arrow goes
upwards, against the order: such imports are to be removed.

{_picture(rooms, graph)}

*Imports* are the lower rooms that a room imports today, *upwards* those that are against the order;
*uses* says where Flower, Ray and PyTorch are imported.

{_table(rooms, graph, used)}
"""
    return page.partition(_HEADING)[0] + _HEADING + told


def main() -> None:
    """Write the page, and print the circles."""
    page = drawn(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    files = modules()
    ours, _ = imports(files)
    for what, graph in (("rooms", between(ours, placed(order(page), files))), ("files", ours)):
        found = circles(graph)
        print(f"circles of {what}: {len(found) or 'none'}")
        for names in found:
            print(f"  {len(names)}: {', '.join(names)}")


if __name__ == "__main__":
    main()
