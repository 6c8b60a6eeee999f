"""Networks of transformers made from their configuration classes, small and with seeded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = "the a good bad film food phone was is not very really it this great terrible love hate"
FAMILIES = ("bert", "roberta", "gpt2", "t5", "vit", "clip", "wav2vec2", "whisper")
TEXTS, PICTURES, SOUNDS = FAMILIES[:4], FAMILIES[4:6], FAMILIES[6:]

_BLOCKS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32}
_BLOCKS |= {"intermediate_size": 64}


def write_tiny(name: str, folder: Path) -> Path:
    """Write the network of a family, and what prepares its inputs; return its folder."""
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    hf.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    made = _MADE[name](hf, folder / name)
    made.save_pretrained(folder / name)
    return folder / name


def _tokenizer(hf: Any, folder: Path, template: str, **special: str) -> int:
    """Write a tokenizer of words and letters; return how many tokens there are."""
    names = dict.fromkeys([*special.values(), *WORDS.split(), *"abcdefghijklmnopqrstuvwxyz"])
    numbers = {word: at for at, word in enumerate(names)}
    found = Tokenizer(
        models.WordPiece(numbers, unk_token=special["unk_token"], continuing_subword_prefix="")
    )
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if template:
        known = [(word, numbers[word]) for word in set(special.values()) if word in template]
        found.post_processor = processors.TemplateProcessing(single=template, special_tokens=known)
    hf.PreTrainedTokenizerFast(
        tokenizer_object=found, model_max_length=64, **special
    ).save_pretrained(folder)
    return len(numbers)


def _bert(hf: Any, folder: Path) -> Any:
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    count = _tokenizer(hf, folder, "[CLS] $A [SEP]", sep_token="[SEP]", **special)
    return hf.BertModel(hf.BertConfig(vocab_size=count, max_position_embeddings=64, **_BLOCKS))


def _roberta(hf: Any, folder: Path) -> Any:
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    count = _tokenizer(hf, folder, "<s> $A </s>", **special)
    settings = {"vocab_size": count, "max_position_embeddings": 66, "pad_token_id": 1}
    return hf.RobertaModel(hf.RobertaConfig(**settings, **_BLOCKS))


def _gpt2(hf: Any, folder: Path) -> Any:
    end = "<|endoftext|>"
    count = _tokenizer(hf, folder, "", unk_token=end, bos_token=end, eos_token=end)
    settings = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return hf.GPT2Model(hf.GPT2Config(vocab_size=count, bos_token_id=0, eos_token_id=0, **settings))


def _t5(hf: Any, folder: Path) -> Any:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    count = _tokenizer(hf, folder, "$A </s>", **special)
    settings = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    return hf.T5Model(hf.T5Config(vocab_size=count, **settings))


def _vit(hf: Any, folder: Path) -> Any:
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return hf.ViTModel(hf.ViTConfig(image_size=32, patch_size=8, **_BLOCKS))


def _clip(hf: Any, folder: Path) -> Any:
    square = {"height": 32, "width": 32}
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    count = _tokenizer(hf, folder, "$A </s>", **special)
    texts = {"vocab_size": count, "max_position_embeddings": 64, "bos_token_id": 1}
    pictures = {"image_size": 32, "patch_size": 8, **_BLOCKS}
    return hf.CLIPModel(
        hf.CLIPConfig(
            text_config={**texts, "eos_token_id": 1, **_BLOCKS},
            vision_config=pictures,
            projection_dim=24,
        )
    )


def _wav2vec2(hf: Any, folder: Path) -> Any:
    hf.Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=16_000, padding_value=0.0, do_normalize=True
    ).save_pretrained(folder)
    convolutions = {"conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4)}
    places = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return hf.Wav2Vec2Model(
        hf.Wav2Vec2Config(num_feat_extract_layers=3, **convolutions, **places, **_BLOCKS)
    )


def _whisper(hf: Any, folder: Path) -> Any:
    hf.WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    tokens = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 64}
    return hf.WhisperModel(
        hf.WhisperConfig(
            **tokens, **sizes, **heads, decoder_start_token_id=1, max_source_positions=100
        )
    )


_MADE = {
    "bert": _bert,
    "roberta": _roberta,
    "gpt2": _gpt2,
    "t5": _t5,
    "vit": _vit,
    "clip": _clip,
    "wav2vec2": _wav2vec2,
    "whisper": _whisper,
}
