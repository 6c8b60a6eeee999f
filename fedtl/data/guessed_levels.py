"""What levels of folders are if nobody says so: read from their names and from what recurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fedtl.data.layout_option import CLASS, GROUP, NOTHING, SITE, SPLIT, written
from fedtl.data.level_names import (
    PICTURE_WORDS,
    Names,
    aspects,
    each_under_one,
    identifiers,
    joined,
    long_numbers,
    mostly_numbered,
    named_classes,
    named_groups,
    named_sites,
    parents,
    parts,
)
from fedtl.data.split_names import TRAINING, split_role, words_of

Guess = tuple[tuple[str, ...], str]
"""What each level is, outermost first, and what to tell the user about it; empty if it is plain."""


def guessed(levels: Sequence[Names]) -> Guess | None:
    """Return what each level is; ``None`` if that is not clear.

    A level whose folders are all named like splits names splits. If one other level is left, it
    names classes. If two are left, the upper names sites; but groups or nothing are the lower
    level's if its names say so, or if none of them recurs under another upper folder: as sites,
    each of the upper folders would then have classes of its own. If three are left, the upper names
    sites, and the groups are the level whose names say so, or whose folders lie in one folder each
    while those of the other level recur.

    Args:
        levels: Folder of every file at each level, outermost first; each of shape ``(N,)``.
    """
    split = split_level(levels)
    idle = _idle_level(levels, split)
    if idle is not None:
        found = guessed([*levels[:idle], *levels[idle + 1 :]])
        if found is None:
            return None
        meanings = (*found[0][:idle], NOTHING, *found[0][idle:])
        return meanings, found[1] or _idle(levels[idle], meanings, idle)
    if split is None:
        return _unsplit(levels)
    rest = [*levels[:split], *levels[split + 1 :]]
    found = _below_splits(levels, split) if len(rest) == 2 else _unsplit(rest)
    if found is None:
        return None
    meanings, told = found
    return (*meanings[:split], SPLIT, *meanings[split:]), told


def _idle_level(levels: Sequence[Names], split: int | None) -> int | None:
    """Return a level that says nothing beside others that do; ``None`` if there is none.

    Its folders are all of one name, or are parts of one collection, such as ``fold1``, ``fold2``.
    """
    rest = [at for at in range(len(levels)) if at != split]
    for at in rest if len(rest) > 1 else []:
        names = np.unique(levels[at])
        others = [np.unique(levels[other]) for other in rest if other != at]
        if len(rest) == 2 and named_sites(others[0]):
            continue
        if all(len(other) == 1 for other in others):
            continue
        if len(names) == 1 or (parts(names) and not any(parts(other) for other in others)):
            return at
    return None


def _idle(names: Names, meanings: tuple[str, ...], level: int) -> str:
    """Return what to tell the user of a level that is taken to say nothing; empty if plain."""
    found = np.unique(names).tolist()
    settled = "/".join(meanings).removesuffix(f"/{NOTHING}")
    if len(found) == 1:
        if set() < words_of(found[0]) <= PICTURE_WORDS:
            return ""
        said = f"all folders of its level are called {found[0]}, so that level"
    else:
        said = f"the folders {', '.join(found[:2])} are named like parts of one whole, so they"
    as_classes = meanings.count(CLASS) == 1 and level > meanings.index(CLASS)
    another = SITE if SITE not in meanings else GROUP
    other = [another if meaning == NOTHING else meaning for meaning in meanings]
    if as_classes:
        other = [{CLASS: another, NOTHING: CLASS}.get(meaning, meaning) for meaning in meanings]
    leak = (
        "; if one trains on what another tests, pass only one of them"
        if len(found) > 1 and SPLIT in meanings
        else ""
    )
    verb = "is" if len(found) == 1 else "are"
    what = f"makes {found[0]} the class" if as_classes else f"makes them {another}s"
    return (
        f"{said} {verb} taken to say nothing; --layout {settled} settles that, --layout "
        f"{'/'.join(other)} {what}{leak}"
    )


def split_level(levels: Sequence[Names]) -> int | None:
    """Return the level whose folders are all named like splits; ``None`` if there is none.

    Below the top it takes training data and something else, so that ``train`` may be a class.
    """
    if len(levels) < 2:
        return None
    for level, names in enumerate(levels):
        roles = {split_role(name) for name in set(names.tolist())}
        if "" in roles or len(set(names.tolist())) < 2:
            continue
        if level == 0 or (TRAINING in roles and len(roles) > 1):
            return level
    return None


def _unsplit(levels: Sequence[Names]) -> Guess | None:
    if len(levels) == 1:
        return (CLASS,), ""
    if len(levels) == 2:
        return _two(levels[0], levels[1])
    return _three(levels) if len(levels) == 3 else None


def _two(upper: Names, lower: Names) -> Guess:
    tops, names = np.unique(upper), np.unique(lower)
    if named_groups(names) and not named_groups(tops):
        return (CLASS, GROUP), ""
    if named_sites(tops) != named_sites(names):
        return ((SITE, CLASS) if named_sites(tops) else (CLASS, SITE)), ""
    if len(tops) == 1 or named_groups(tops):
        return (SITE, CLASS), ""
    if each_under_one(upper, lower):
        pairs = set(zip(upper.tolist(), lower.tolist(), strict=True))
        several = min(Counter(top for top, _ in pairs).values()) > 1
        grouped = several and mostly_numbered(names)
        return ((CLASS, GROUP) if grouped else (CLASS, NOTHING)), _of_their_own(names, grouped)
    if (aspects(names) and not aspects(tops)) or (named_classes(tops) and not named_classes(names)):
        grouped = identifiers(names) and not aspects(names)
        return ((CLASS, GROUP) if grouped else (CLASS, NOTHING)), _rather_classes(
            tops, names, grouped=grouped
        )
    told = _numbered_classes(tops, names) or _with_own_classes(upper, lower)
    return (SITE, CLASS), told or _numbered_sites(tops, names)


def _of_their_own(names: Names, grouped: bool) -> str:
    reading, settles = (
        ("class/group/file, the pictures of a group (a patient, a slide) together", "class/group")
        if grouped
        else ("class/subfolder/file, subfolders that say nothing", "class")
    )
    other = "class" if grouped else "class/group"
    meaning = "says that subfolders mean nothing" if grouped else "keeps each subfolder together"
    return (
        f"every lower folder, such as {names[0]}, lies under one upper folder only, so the layout "
        f"is taken to be {reading}; --layout {settles} settles that, --layout {other} {meaning}, "
        "--layout site/class makes the upper folders sites"
    )


def _rather_classes(tops: Names, names: Names, *, grouped: bool) -> str:
    """Return what to tell the user if upper folders are named like classes."""
    below = "groups" if grouped else "subfolders that say nothing"
    read, other = ("class/group", "class") if grouped else ("class", "class/group")
    return (
        f"the layout is taken to be class/{'group' if grouped else 'subfolder'}/file, with classes "
        f"such as {tops[0]} and {below}, such as {names[0]}; --layout {read} settles that, "
        f"--layout {other} says otherwise, --layout site/class makes the upper folders sites and "
        "the lower ones classes"
    )


def _numbered_classes(tops: Names, names: Names) -> str:
    """Return what to tell the user if classes look like numbers of patients."""
    if len(names) <= len(tops) or not identifiers(names) or identifiers(tops):
        return ""
    return (
        f"the layout is taken to be site/class/file, with {len(names)} classes such as "
        f"{names[0]}; --layout site/class settles that, --layout class/group makes the upper "
        "folders classes and the lower ones groups, such as patients"
    )


def _numbered_sites(tops: Names, names: Names) -> str:
    """Return what to tell the user if sites look like numbers of patients."""
    if not long_numbers(tops) or long_numbers(names):
        return ""
    return (
        f"the layout is taken to be site/class/file, with {len(tops)} sites such as {tops[0]}; "
        "--layout site/class settles that, --layout group/class makes the upper folders groups, "
        "such as patients"
    )


def _with_own_classes(upper: Names, lower: Names) -> str:
    """Return what to tell the user if sites have classes that no other site has."""
    shared = {top for tops in parents(upper, lower).values() if len(tops) > 1 for top in tops}
    alone = [top for top in np.unique(upper).tolist() if top not in shared]
    if not alone:
        return ""
    first = f"folder {alone[0]} holds"
    such = first if len(alone) == 1 else f"{len(alone)} folders, first {alone[0]}, hold"
    return (
        f"{such} classes that no other folder has, and the layout is taken to be site/class/file; "
        "--layout site/class settles that, --layout class makes the upper folders classes, "
        "whatever lies in them"
    )


def _three(levels: Sequence[Names]) -> Guess | None:
    sites = [at for at, names in enumerate(levels) if named_sites(np.unique(names))]
    place = sites[0] if len(sites) == 1 else 0
    rest = [names for at, names in enumerate(levels) if at != place]
    upper_is_group, told = _upper_is_group(levels[place], *rest), ""
    if upper_is_group is None:
        numbered = [identifiers(np.unique(names)) for names in rest]
        if numbered[0] == numbered[1]:
            return None
        upper_is_group = numbered[0]
    meanings = [GROUP, CLASS] if upper_is_group else [CLASS, GROUP]
    meanings.insert(place, SITE)
    if _upper_is_group(levels[place], *rest) is None:
        group, name = np.unique(rest[not upper_is_group])[0], np.unique(rest[upper_is_group])[0]
        told = (
            f"the layout is taken to be {written(meanings)}, with groups such as {group} and "
            f"classes such as {name}; --layout {'/'.join(meanings)} settles that"
        )
    return tuple(meanings), told


def _below_splits(levels: Sequence[Names], split: int) -> Guess | None:
    """Return what the two levels beside one of splits are."""
    upper, lower = (names for at, names in enumerate(levels) if at != split)
    tops, names = np.unique(upper), np.unique(lower)
    sited = named_sites(tops) or named_sites(names)
    if split == 0 and not sited:
        upper_is_group = _upper_is_group(levels[0], upper, lower)
        if upper_is_group is not None:
            return ((GROUP, CLASS) if upper_is_group else (CLASS, GROUP)), ""
    meanings, told = _two(upper, lower)
    if split == 0 and meanings == (SITE, CLASS) and not sited:
        told = (
            f"the layout is taken to be {written((SPLIT, SITE, CLASS))}, with sites such as "
            f"{tops[0]} and classes such as {names[0]}; --layout split/site/class settles that, "
            "--layout split/class/site or split/class/group says otherwise"
        )
    return meanings, told


def _upper_is_group(top: Names, middle: Names, bottom: Names) -> bool | None:
    """Return whether of three levels the middle one names groups; ``None`` if that is not clear."""
    middles, bottoms = np.unique(middle), np.unique(bottom)
    named = named_groups(middles), named_groups(bottoms)
    if named[0] != named[1]:
        return named[0]
    middle_single = each_under_one(top, middle)
    bottom_single = each_under_one(joined(top, middle), bottom)
    if middle_single and not bottom_single and len(bottoms) < len(middles):
        return True
    if bottom_single and not middle_single and len(middles) < len(bottoms):
        return False
    return None
