"""Keys: how many clients and rounds there are, and what goes wrong at clients."""

from __future__ import annotations

from dataclasses import dataclass

from fedtl.config_key import key

_FEDERATION, _ADVERSITY = "Federation", "What goes wrong at clients"


@dataclass(frozen=True)
class FederationKeys:
    """See :class:`fedtl.config.RunConfig`."""

    clients: int = key(10, "Number of clients.", _FEDERATION, low=1, high=1_000_000)
    rounds: int = key(
        0,
        "Training rounds; 0 is 50, or 10 if blocks of the backbone are trained; closed-form "
        "strategies need one.",
        _FEDERATION,
        low=0,
        high=1_000_000,
    )
    patience: int = key(
        0,
        "Stop training after so many rounds without a better accuracy on held-out data; 0 trains "
        "all rounds.",
        _FEDERATION,
        low=0,
        high=1_000_000,
    )
    fraction: float = key(
        1.0, "Fraction of the clients trained in a round.", _FEDERATION, above=0.0, high=1.0
    )
    min_sites: int = key(
        0,
        "Fewest sites that must answer, at real sites; 0 is half of those asked, at least 2.",
        _FEDERATION,
        low=0,
        high=1_000_000,
    )
    seed: int = key(0, "Seed of every random draw.", _FEDERATION, low=0, high=2**63 - 1)

    reply_limit: float = key(
        100.0,
        "Leave out a client whose arrays have more than this many times the norm of the head that "
        "it was sent, or of a head of ones.",
        _FEDERATION,
        above=0.0,
        high=1e30,
    )

    dropout: float = key(
        0.0, "Probability that a client drops out of a round.", _ADVERSITY, low=0.0, high=0.99
    )
    straggle: float = key(
        0.0,
        "Probability that a client does only a part of its local steps in a round.",
        _ADVERSITY,
        low=0.0,
        high=1.0,
    )
    attack: str = key(
        "none",
        "What hostile clients do: none, label-flip, sign-flip, noise, scale, or module:Class of "
        "your own.",
        _ADVERSITY,
    )
