"""Keys: which backbone makes the features, and what head stands above them."""

from __future__ import annotations

from dataclasses import dataclass

from fedtl.config_key import key
from fedtl.config_keys.data import AUTO

_TRANSFER = "Backbone and head"


@dataclass(frozen=True)
class TransferKeys:
    """See :class:`fedtl.config.RunConfig`."""

    backbone: str = key(
        AUTO,
        "A torchvision classification architecture, timm:NAME, hf:FOLDER, open_clip:ARCH@FILE, "
        "fedtl-tiny, wordllama, log-mel, tabular, or module:Class of your own; auto takes one of "
        "fedtl's by what the data are.",
        _TRANSFER,
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
    prompt: str = key(
        "",
        "Sentence in which a backbone with a text tower reads class names, for a zero-shot head "
        "beside the others: 'a photo of a {}', which is also what zero-shot takes if this is "
        "empty; | separates several.",
        _TRANSFER,
    )
    trainable_blocks: int = key(
        0,
        "Last blocks of the backbone that are trained with the head; 0 trains the head alone.",
        _TRANSFER,
        low=0,
        high=1000,
    )
    train_from: str = key(
        "",
        "Module of the backbone from which on it is trained, such as layer4; input trains all.",
        _TRANSFER,
    )
    blocks_rate: float = key(
        0.3,
        "Learning rate of trained blocks, as part of learning-rate.",
        _TRANSFER,
        above=0.0,
        high=1e3,
    )
    blocks_decay: str = key(
        "cosine",
        "How the rate of trained blocks falls over the rounds: to a tenth along half a cosine, or "
        "not at all.",
        _TRANSFER,
        choices=("cosine", "none"),
    )
    blocks_loss: str = key(
        "adjusted",
        "Loss of clients that train blocks: adjusted takes out how their classes differ from "
        "everybody's, plain is cross-entropy as it is.",
        _TRANSFER,
        choices=("adjusted", "plain"),
    )
    adapter: str = key(
        "none",
        "Train low-rank adapters of the blocks above the cut and not their weights: lora averages "
        "both factors, ffa trains one of two, rolora one of two by turns, fedex sends what the "
        "mean of both misses.",
        _TRANSFER,
        choices=("none", "lora", "ffa", "rolora", "fedex"),
    )
    rank: int = key(8, "Rank of adapters.", _TRANSFER, low=1, high=1024)
    views: int = key(
        -1,
        "Random crops of each training picture that trained blocks see beside it, half of them "
        "mirrored; -1 is 4, or as many as cache-limit has room for, and none of other inputs.",
        _TRANSFER,
        low=-1,
        high=1000,
    )
    cache_limit: float = key(
        20.0,
        "GB that what is below trained blocks may take.",
        _TRANSFER,
        above=0.0,
        high=1e6,
    )
    head: str = key("linear", "Head: linear, mlp, cosine, or module:Class of your own.", _TRANSFER)
    head_init: str = key(
        "auto",
        "Initial head; auto is zero for linear, seeded for mlp, cosine and your own.",
        _TRANSFER,
        choices=("auto", "zero", "seeded"),
    )
