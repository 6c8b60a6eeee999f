"""What every strategy shares: Flower's server interface, and a client half over a client axis.

A strategy file states two things. The server half: what becomes of the replies of a round. The
client half: what a client does with what it was sent, and what it keeps for itself. Messages,
sampling, order, failures and what may leave a client are not its concern.
"""

from fedtl.options import Choice, Integer, Number, Options, Range, Switch, Text
from strategies.base.closed_form import ClosedFormStrategy
from strategies.base.contract import Outputs
from strategies.base.halves import (
    AloneHead,
    Arrays,
    LabelledRows,
    Received,
    Reply,
    Trained,
    heads_of,
)
from strategies.base.head_strategy import HeadStrategy
from strategies.base.iterative import IterativeStrategy
from strategies.base.local_steps import Gradient, State
from strategies.base.search import Search

__all__ = [
    "AloneHead",
    "Arrays",
    "Choice",
    "ClosedFormStrategy",
    "Gradient",
    "HeadStrategy",
    "Integer",
    "IterativeStrategy",
    "LabelledRows",
    "Number",
    "Options",
    "Outputs",
    "Range",
    "Received",
    "Reply",
    "Search",
    "State",
    "Switch",
    "Text",
    "Trained",
    "heads_of",
]
