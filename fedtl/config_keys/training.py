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
        "none", "Start from the head of this closed-form strategy (fed3r, ...); or none.", _TRAINING
    )
    init_temperature: float = key(
        0.0,
        "Divides the logits of the head that init brings; 0 is the closed form's own: 0.1 for "
        "ridge logits, which lie between 0 and 1, and 1 for fedcgs's log-odds.",
        _TRAINING,
        low=0.0,
        high=1e3,
    )
    local_epochs: int = key(1, "Epochs a client trains in a round.", _TRAINING, low=1, high=10_000)
    batch_size: int = key(32, "Examples in a minibatch.", _TRAINING, low=1, high=65_536)
    learning_rate: float = key(0.01, "Client learning rate.", _TRAINING, above=0.0, high=1e3)
    momentum: float = key(0.9, "Client momentum.", _TRAINING, low=0.0, high=0.999_999)
    weight_decay: float = key(1e-4, "L2 penalty of SGD.", _TRAINING, low=0.0, high=1e3)
    fedprox_mu: float = key(
        0.1, "Pull of clients to the global head (fedprox).", _TRAINING, low=0.0, high=1e6
    )
    scaffold_weights: str = key(
        "examples",
        "What clients count by in the mean change and the control variate (scaffold).",
        _TRAINING,
        choices=("examples", "clients"),
    )
    feddyn_alpha: float = key(
        0.3, "Regularisation of the clients (feddyn).", _TRAINING, above=0.0, high=1e6
    )
    feddyn_steps: int = key(
        60,
        "Fewest steps that a client solves its local problem by (feddyn).",
        _TRAINING,
        low=1,
        high=100_000,
    )
    feddyn_weights: str = key(
        "examples",
        "What clients count by in the mean head and its correction (feddyn).",
        _TRAINING,
        choices=("examples", "clients"),
    )
    ditto_lambda: float = key(
        0.1, "Pull of personal heads to the global one (ditto).", _TRAINING, low=0.0, high=1e6
    )
    apfl_alpha: float = key(
        0.5, "Share of a client's own part in its head (apfl).", _TRAINING, low=0.0, high=1.0
    )
    fedpft_covariance: str = key(
        "full",
        "What clients send of how features vary together within a class (fedpft).",
        _TRAINING,
        choices=("full", "diagonal"),
    )
    fedcof_parts: int = key(
        0,
        "Random parts that a client sums its examples of a class in (fedcof); 0: enough for 100 "
        "parts in all.",
        _TRAINING,
        low=0,
        high=1000,
    )
    qfedavg_q: float = key(
        1.0,
        "How much a client's loss weighs (qfedavg); 0 is not at all.",
        _TRAINING,
        low=0.0,
        high=100.0,
    )
    server_learning_rate: float = key(
        0.0,
        "Server learning rate (fedavgm, fedadagrad, fedadam, fedyogi, scaffold); 0 is the "
        "strategy's own.",
        _TRAINING,
        low=0.0,
        high=1e3,
    )
    server_momentum: float = key(
        0.9,
        "Server momentum (fedavgm), or beta 1 (fedadagrad, fedadam, fedyogi).",
        _TRAINING,
        low=0.0,
        high=0.999_999,
    )
    server_beta2: float = key(
        0.99, "Beta 2 (fedadam, fedyogi).", _TRAINING, low=0.0, high=0.999_999
    )
    server_tau: float = key(
        1e-3,
        "Floor of the adaptive step (fedadagrad, fedadam, fedyogi).",
        _TRAINING,
        above=0.0,
        high=1e3,
    )
    byzantine: float = key(
        0.1,
        "Fraction of the clients that may be hostile (fedtrimmedavg, krum, multikrum, bulyan, "
        "fedmedian, geomedian).",
        _TRAINING,
        low=0.0,
        high=0.5,
    )
    ridge_penalty: float = key(
        0.5,
        "Closed form: ridge penalty per feature, on standardised features.",
        _TRAINING,
        above=0.0,
        high=1e6,
    )

    ridge_penalty_from: str = key(
        "fixed",
        "fixed: ridge-penalty; gcv: chosen from the sums by generalised cross-validation.",
        _TRAINING,
        choices=("fixed", "gcv"),
    )
    softmax_penalty: float = key(
        0.05,
        "L2 penalty per feature, on standardised features (fedsoftmax, fedpft).",
        _TRAINING,
        above=0.0,
        high=1e6,
    )

    own_data_rows: str = key(
        "auto",
        "Rows that clients score on: held-out, or all, of which training rows are left out of the "
        "heads (fed3r, afl, balancedridge, fedcgs, fedncm); auto is all in simulate, else "
        "held-out.",
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
