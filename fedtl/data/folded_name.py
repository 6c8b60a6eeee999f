"""Names as a person reads them: without case, outer space and the kind of gaps."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_GAP = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """Return what a person reads in a name: ``lung cancer`` in ``Lung_Cancer ``."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return _GAP.sub(" ", text.strip())
