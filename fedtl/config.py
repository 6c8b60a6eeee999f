"""The one description of a run: a frozen dataclass that CLI flags, TOML and Flower spell alike.

Every key has one kebab-case name. ``--learning-rate 0.1`` on the command line, ``learning-rate =
0.1`` in a TOML file and ``learning-rate`` in Flower's run config are the same thing, checked in the
same place and written into the run folder as the effective configuration.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from fedtl.config_key import Rule, Scalar, check, kebab, key, nearest
from fedtl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

# What partition = auto and hospitals-sites = 0 come to: see RunConfig.settled.
AUTO = "auto"
_POOLED_SITES, _OWN_MIX, _FEWEST_PICTURES = 5, 3.0, 20
PARTITIONS = (
    "iid",
    "dirichlet",
    "pathological",
    "shard",
    "natural",
    "size-linear",
    "size-square",
    "size-exponential",
)

HOLDOUT_PSEUDONYM = "unseen-site"
"""What the site that takes part in nothing is called if clients have pseudonyms."""
_MOST_SAMPLES = 100
# The rendered hospitals' pictures are nobody's.
_RENDERED_SAMPLES = 9

_FEDERATION, _DATA, _TRANSFER = "Federation", "Data and partition", "Backbone and head"
_ADVERSITY, _READING = "What goes wrong at clients", "How folders of pictures are read"
_TRAINING, _PERSONAL = "Strategy and training", "Clients' own heads"
_MACHINE, _OUTPUT = "Machine", "Output"


def _effect(what: str) -> Any:
    """Return the key of one effect that rendered sites differ in."""
    return key(1.0, f"Times hospitals-shift, for the {what}.", _DATA, low=0.0, high=5.0)


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on, besides the data itself.

    Raises:
        UsageError: A value is outside its range, or two values contradict each other.
    """

    clients: int = key(10, "Number of clients.", _FEDERATION, low=1, high=1_000_000)
    rounds: int = key(
        50, "Training rounds; closed-form strategies need one.", _FEDERATION, low=1, high=1_000_000
    )
    fraction: float = key(
        1.0, "Fraction of the clients trained in a round.", _FEDERATION, above=0.0, high=1.0
    )
    seed: int = key(0, "Seed of every random draw.", _FEDERATION, low=0, high=2**63 - 1)

    dropout: float = key(
        0.0, "Probability that a client is missing in a round.", _ADVERSITY, low=0.0, high=0.99
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
        "What hostile clients do.",
        _ADVERSITY,
        choices=("none", "label-flip", "sign-flip", "noise", "scale"),
    )
    attackers: float = key(
        0.1, "Fraction of the clients that are hostile (attack).", _ADVERSITY, low=0.0, high=1.0
    )
    attack_strength: float = key(
        10.0,
        "How far hostile clients go (sign-flip, noise, scale).",
        _ADVERSITY,
        above=0.0,
        high=1e6,
    )

    data: str = key(
        "hospitals",
        "Folder or .zip (class/file, split/class/file, site/class/file), torchvision:NAME, "
        "medmnist:NAME or FILE, features:FILE.npz, or the rendered default, hospitals.",
        _DATA,
    )
    partition: str = key(
        AUTO,
        f"How data becomes clients: {', '.join(PARTITIONS)}, or file:PARTS.json; auto is "
        "dirichlet, but one hospital per client of rendered data without alpha or hospitals-sites.",
        _DATA,
    )
    alpha: float = key(0.3, "Dirichlet concentration; small is skewed.", _DATA, above=0.0, high=1e9)
    classes_per_client: int = key(
        2, "Classes a client holds (pathological).", _DATA, low=1, high=1_000_000
    )
    shards_per_client: int = key(2, "Shards a client gets (shard).", _DATA, low=1, high=1_000_000)
    min_examples: int = key(
        2,
        "Fewest examples (or groups) a client may have (dirichlet).",
        _DATA,
        low=1,
        high=1_000_000,
    )
    held_out: float = key(
        0.2, "Fraction of each client's data held out for scoring.", _DATA, low=0.0, high=0.9
    )
    test_fraction: float = key(
        0.1,
        "Fraction held out from all clients of data without a test split; 0 is none.",
        _DATA,
        low=0.0,
        high=0.9,
    )
    duplicates: str = key(
        "drop",
        "Examples to be scored that equal a training example: left out of scores, or kept.",
        _DATA,
        choices=("drop", "keep"),
    )
    holdout_site: str = key(
        "",
        "Site that takes part in nothing; every head is scored on it at the end. With simulate, "
        "each: every site in turn, after the run.",
        _DATA,
    )
    data_seed: int = key(
        -1,
        "Seed of rendered images and of random backbone weights; -1 takes seed.",
        _DATA,
        low=-1,
        high=2**63 - 1,
    )
    hospitals_images: int = key(
        4000, "Rendered training images (hospitals).", _DATA, low=16, high=10_000_000
    )
    hospitals_test_images: int = key(
        1000, "Rendered global test images (hospitals).", _DATA, low=0, high=10_000_000
    )
    hospitals_sites: int = key(
        0,
        "Rendered sites (hospitals); 0 is 5, or one per client if partition = auto.",
        _DATA,
        low=0,
        high=10_000,
    )
    hospitals_size: int = key(64, "Rendered image side in pixels.", _DATA, low=16, high=1024)
    hospitals_shift: float = key(
        1.0, "Strength of the difference between rendered sites.", _DATA, low=0.0, high=5.0
    )
    hospitals_stain: float = _effect("hue and strength of the stain")
    hospitals_illumination: float = _effect("colour and gradient of the light")
    hospitals_focus: float = _effect("blur")
    hospitals_noise: float = _effect("noise of the camera")
    hospitals_jpeg: float = _effect("loss by compression")
    hospitals_magnification: float = _effect("size of the cells")
    hospitals_prevalence: float = _effect("frequency of the classes")
    hospitals_label_noise: float = key(
        0.0, "Fraction of wrong training labels (hospitals).", _DATA, low=0.0, high=0.9
    )

    top_level: str = key(
        "auto",
        "What the outermost folders of several levels are.",
        _READING,
        choices=("auto", "site", "group", "class", "split"),
    )
    group_from: str = key(
        "",
        "Pattern of the folders or files that name what belongs together, such as 'patient_*'; "
        "the group is what (parentheses) enclose, or else the folder, or a file's first *.",
        _READING,
    )
    labels: str = key(
        "", "CSV of file,label and, if known, site, group, split; in data or here.", _READING
    )

    backbone: str = key(
        "fedtl-tiny", "fedtl-tiny, or a torchvision classification architecture.", _TRANSFER
    )
    weights: str = key(
        "DEFAULT",
        "DEFAULT, a torchvision weights name, FILE.pth or .safetensors, or random.",
        _TRANSFER,
    )
    image_size: int = key(
        0, "Image side the backbone sees; 0 is its native size.", _TRANSFER, low=0, high=4096
    )
    precision: str = key(
        "float32",
        "Arithmetic of the backbone.",
        _TRANSFER,
        choices=("float32", "bfloat16", "float16"),
    )
    head: str = key("linear", "Head.", _TRANSFER, choices=("linear", "mlp", "cosine"))
    head_init: str = key(
        "auto",
        "Initial head; auto is zero for linear, seeded for mlp and cosine.",
        _TRANSFER,
        choices=("auto", "zero", "seeded"),
    )
    hidden_units: int = key(256, "Hidden units (mlp).", _TRANSFER, low=1, high=65_536)
    cosine_scale: float = key(16.0, "Logit scale (cosine).", _TRANSFER, above=0.0, high=1e4)

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

    engine: str = key(
        "ray",
        "ray: clients in Ray actors; inline: in this process.",
        _MACHINE,
        choices=("ray", "inline"),
    )
    client_cpus: float = key(1.0, "CPU share of a client actor.", _MACHINE, above=0.0, high=4096)
    client_gpus: float = key(0.0, "GPU share of a client actor.", _MACHINE, low=0.0, high=4096)
    client_timeout: float = key(
        300.0, "Seconds a client may take for one message.", _MACHINE, above=0.0, high=1e6
    )
    connect_timeout: float = key(
        60.0, "Seconds a server waits for its clients to connect.", _MACHINE, above=0.0, high=1e7
    )
    ray_address: str = key("", "Use the Ray cluster at this address.", _MACHINE)
    cache: str = key("", "Feature cache folder; empty is the user's own.", _MACHINE)
    no_cache: bool = key(False, "Keep features in memory only.", _MACHINE)

    name: str = key("", "Name of the run; empty takes the data's.", _OUTPUT)
    out: str = key("", "Run folder; empty is runs/<time>-<name>.", _OUTPUT)
    samples: str = key(
        "auto",
        "Pictures of each client that the report holds: none, a number up to 100, or auto, which "
        "is none of your own data and 9 of the rendered hospitals.",
        _OUTPUT,
    )
    pseudonyms: bool = key(
        False,
        "Clients are called client-0, client-1, ... in all that is written; pseudonyms.csv alone "
        "says who is who.",
        _OUTPUT,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(kebab(field.name), getattr(self, field.name), field.metadata["rule"])
        known = self.partition in (AUTO, *PARTITIONS)
        if not known and not self.partition.startswith("file:"):
            near = nearest(self.partition, PARTITIONS)
            raise UsageError(
                f"partition = {self.partition!r} is not known{near} "
                f"It is one of {', '.join(PARTITIONS)}, {AUTO} or file:PARTS.json."
            )
        if self.head != "linear" and self.head_init == "zero":
            raise UsageError(
                f"head-init = 'zero' leaves a head of kind {self.head!r} without a gradient; "
                "use head-init = 'seeded'."
            )
        count = int(self.samples) if re.fullmatch(r"\d{1,9}", self.samples, re.ASCII) else -1
        if self.samples not in ("auto", "none") and not 0 <= count <= _MOST_SAMPLES:
            raise UsageError(
                f"samples = {self.samples!r} is not known. "
                f"It is none, auto or a number from 0 to {_MOST_SAMPLES}."
            )

    @property
    def inputs_seed(self) -> int:
        """Seed of what the clients' data are, as opposed to what is drawn from it."""
        return self.seed if self.data_seed < 0 else self.data_seed

    @property
    def pictures(self) -> int:
        """How many pictures of each client the report holds at most; zero is none at all."""
        if self.samples == "auto":
            return _RENDERED_SAMPLES if self.data == "hospitals" else 0
        return 0 if self.samples == "none" else int(self.samples)

    @property
    def holdout_name(self) -> str:
        """What the site that takes part in nothing is called in what is written; may be empty."""
        return HOLDOUT_PSEUDONYM if self.pseudonyms and self.holdout_site else self.holdout_site

    def settled(self, given: Collection[str] = ()) -> RunConfig:
        """Return the configuration with what ``partition`` = auto and ``hospitals-sites`` = 0 are.

        With rendered data every client is then a hospital of its own, with a case mix of its own,
        unless alpha or the number of sites asks for shares of a pool, or a hospital would have
        too few pictures to learn from.

        Args:
            given: Kebab-case keys that a person set, if only to their defaults.
        """
        default = RunConfig()
        rendered = self.data == "hospitals"
        pooled = "alpha" in given or self.alpha != default.alpha or self.hospitals_sites > 0
        enough = self.hospitals_images >= _FEWEST_PICTURES * self.clients
        if self.partition == AUTO and rendered and enough and not pooled:
            mix = self.hospitals_prevalence
            asked = "hospitals-prevalence" in given or mix != default.hospitals_prevalence
            return self.replace(
                partition="natural",
                hospitals_sites=self.clients,
                hospitals_prevalence=mix if asked else _OWN_MIX,
            )
        partition = "dirichlet" if self.partition == AUTO else self.partition
        sites = self.hospitals_sites or (_POOLED_SITES if rendered else 0)
        if (partition, sites) == (self.partition, self.hospitals_sites):
            return self
        return self.replace(partition=partition, hospitals_sites=sites)

    def in_simulation(self) -> RunConfig:
        """Return the configuration as ``simulate`` reads it."""
        return self.replace(own_data_rows="all") if self.own_data_rows == "auto" else self

    def to_mapping(self) -> dict[str, Scalar]:
        """Return every key, in kebab case, with its value: TOML and Flower's run config alike."""
        return {key: getattr(self, name) for key, name in _spelling()}

    def replace(self, **changes: Scalar) -> RunConfig:
        """Return a checked copy with ``changes`` (Python names)."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


@cache
def _spelling() -> tuple[tuple[str, str], ...]:
    """Return every key as users write it and the name of its field, in the order of declaration."""
    return tuple((kebab(field.name), field.name) for field in dataclasses.fields(RunConfig))


def rules() -> dict[str, Rule]:
    """Return each key's rule, by its kebab-case name, in the order of declaration."""
    return {kebab(field.name): field.metadata["rule"] for field in dataclasses.fields(RunConfig)}
