"""What imaginary hospitals are called: trees, in the order of the alphabet."""

from __future__ import annotations

_TREES = (
    *("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ilex", "Juniper"),
    *("Kapok", "Larch", "Maple", "Nutmeg", "Oak", "Pine", "Quince", "Rowan", "Spruce", "Teak"),
    *("Umbu", "Viburnum", "Willow", "Yew", "Zelkova"),
)


def hospital_names(count: int) -> tuple[str, ...]:
    """Return the names of the first ``count`` hospitals: trees, then Alder-2, Birch-2, ...

    A hospital's name does not depend on how many others there are.
    """
    rounds = (divmod(number, len(_TREES)) for number in range(count))
    return tuple(_TREES[tree] + (f"-{again + 1}" if again else "") for again, tree in rounds)
