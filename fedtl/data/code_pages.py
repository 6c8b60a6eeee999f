"""Names of archive members that say no code page: read in the one that makes words of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise

_RIGHT, _DOUBTFUL, _WRONG = 1.0, 0.5, 0.0
_KANA = "\u3041\u30fe"
_KOREAN = 0xB0, 0xC8
# Chinese falls among the first 25 of the 40 rows that Korean syllables fill; less often than once
# in ten if it does so five times.
_SURELY_KOREAN = 5


def decoded_names(names: Sequence[bytes]) -> tuple[list[str], str]:
    """Return names of an archive that do not say their code page, and what they are taken to be in.

    They are in UTF-8 if all of them can be, as macOS and Linux write them. If not, they are in the
    code page of some Windows: the one in which most of their letters that are not ASCII make words,
    or, of several equal ones, the first in ``_PAGES``.

    Returns:
        The names, and the code page; empty if all are in UTF-8.
    """
    try:
        return [name.decode() for name in names], ""
    except UnicodeDecodeError:
        pass
    best, page = -1.0, "cp437"
    for candidate, judge in _PAGES.items():
        try:
            decoded = [name.decode(candidate) for name in names]
        except UnicodeDecodeError:
            continue
        score = _score(decoded, judge)
        if any("/" in name and "\\" in name for name in decoded):
            # Half of a letter of two bytes, as no archiver parts folders by both.
            score *= _DOUBTFUL
        if score > best:
            best, page = score, candidate
    page = "cp949" if page == "gbk" and _korean(names) else page
    return [name.decode(page) for name in names], page


def code_page_note(archive: object, names: Sequence[str], page: str) -> str:
    """Return what to tell the user about names that are read in a code page.

    Args:
        archive: Its path.
        names: The names as they are read.
        page: The code page.
    """
    first = next(name for name in names if not name.isascii())
    return (
        f"file names in {archive} do not say their code page and are read as {page}, such as "
        f"{first}; if that is not its name, unpack the archive and pass the folder"
    )


def _score(names: Iterable[str], judge: Callable[[str], float]) -> float:
    """Return how right the distinct words with letters beyond ASCII are, from 0 to 1."""
    words = {
        "".join(letters)
        for name in names
        for is_word, letters in groupby(name, lambda one: one.isalpha() or not one.isascii())
        if is_word
    }
    counts = {word: sum(not one.isascii() for one in word) for word in words}
    judged = [(judge(word), count) for word, count in counts.items() if count]
    weight = sum(count for _, count in judged)
    return sum(value * count for value, count in judged) / weight if weight else _WRONG


def _latin(word: str) -> float:
    """Judge a word in Latin letters: two that are not ASCII seldom meet."""
    if not all(_script(one) == "LATIN" for one in word) or not _cased(word):
        return _WRONG
    meet = any(not a.isascii() and not b.isascii() for a, b in pairwise(word))
    return _DOUBTFUL if meet else _RIGHT


def _cyrillic(word: str) -> float:
    return _RIGHT if all(_script(one) == "CYRILLIC" for one in word) and _cased(word) else _WRONG


def _of_rows(encoding: str, first: int, last: int, more: str = "") -> Callable[[str], float]:
    """Return a judge of words all of whose letters lie in the frequent rows of a character set.

    Args:
        encoding: The character set.
        first: First byte of its first frequent row.
        last: That of its last one.
        more: First and last of other letters that are frequent, too.
    """

    def judge(word: str) -> float:
        letters = [one for one in word if not one.isascii()]
        right = sum(
            bool(more and more[0] <= one <= more[-1])
            or (len(code := one.encode(encoding, "ignore")) == 2 and first <= code[0] <= last)
            for one in letters
        )
        mixed = any(one.isascii() for one in word)
        return right / len(letters) * (_DOUBTFUL if mixed else _RIGHT)

    return judge


def _korean(names: Sequence[bytes]) -> bool:
    """Return whether all letters beyond ASCII are syllables of Korean, and not too few."""
    try:
        letters = {one for name in names for one in name.decode("cp949") if not one.isascii()}
    except UnicodeDecodeError:
        return False
    codes = [one.encode("euc-kr", "ignore") for one in letters]
    return len(letters) >= _SURELY_KOREAN and all(
        len(code) == 2 and _KOREAN[0] <= code[0] <= _KOREAN[1] for code in codes
    )


def _script(one: str) -> str:
    return unicodedata.name(one, "").partition(" ")[0] if one.isalpha() else ""


def _cased(word: str) -> bool:
    """Return whether a word is written as words are: no capital follows a small letter."""
    return word.islower() or word.isupper() or word[1:].islower()


_PAGES: dict[str, Callable[[str], float]] = {
    "cp437": _latin,
    "cp850": _latin,
    "cp1252": _latin,
    "cp866": _cyrillic,
    "cp1251": _cyrillic,
    "gbk": _of_rows("gb2312", 0xB0, 0xD7),
    "cp932": _of_rows("cp932", 0x88, 0x97, _KANA),
    "big5": _of_rows("big5", 0xA4, 0xC6),
}
