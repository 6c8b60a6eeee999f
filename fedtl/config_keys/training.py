"""Keys: by which strategy and how heads are trained, and what heads clients have of their own."""

from __future__ import annotations

from dataclasses import dataclass

from fedtl.config_key import key

_TRAINING, _PERSONAL = "Strategy and training", "Clients' own heads"


@dataclass(frozen=True)
class TrainingKeys:
    """See :class:`fedtl.config.RunConfig`."""

    strategy: str = key(
        "fedavg", "Strategy: a file of strategies/, or module:Class of your own.", _TRAINING
    )
    init: str = key(
        "auto",
        "Start from the head of this closed-form strategy (fed3r, ...), from the head of the "
        "classes' names (zero-shot), or none; auto is fed3r if blocks of the backbone are trained, "
        "else none.",
        _TRAINING,
    )
    init_temperature: float = key(
        0.0,
        "Divides the logits of the head that init brings; 0 is the closed form's own: 0.1 for "
        "ridge logits, which lie between 0 and 1, and 1 for log-odds, fedcgs's or zero-shot's.",
        _TRAINING,
        low=0.0,
        high=1e3,
    )
    local_epochs: int = key(
        0,
        "Epochs a client trains in a round; 0 is 1, or 4 if blocks of the backbone are trained.",
        _TRAINING,
        low=0,
        high=10_000,
    )
    batch_size: int = key(32, "Examples in a minibatch.", _TRAINING, low=1, high=65_536)
    learning_rate: float = key(0.01, "Client learning rate.", _TRAINING, above=0.0, high=1e3)
    momentum: float = key(0.9, "Client momentum.", _TRAINING, low=0.0, high=0.999_999)
    weight_decay: float = key(1e-4, "L2 penalty of SGD.", _TRAINING, low=0.0, high=1e3)

    own_data_rows: str = key(
        "auto",
        "Rows that clients score on: held-out, or all; each training row is then left out of the "
        "head that scores it (fed3r, afl, balancedridge, fedcgs, fedncm, textncm); auto is all in "
        "simulate, else held-out.",
        _PERSONAL,
        choices=("auto", "all", "held-out"),
    )
    personalise: int = key(
        0,
        "Epochs that every client fine-tunes the final head by itself.",
        _PERSONAL,
        low=0,
        high=1000,
    )
    prior_correction: bool = key(
        False,
        "Clients read the final head with their own frequencies of classes.",
        _PERSONAL,
    )
