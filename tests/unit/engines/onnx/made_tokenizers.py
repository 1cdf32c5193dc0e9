"""Small tokenizers of each kind that models come with, made here."""

from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXTS = [
    "The quick brown fox jumps over the lazy dog. ",
    '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}',
    "Grüße aus Köln, naïve café, 東京の天気 😀👍🏽 ",
    "def f(x):\n    return x * 2\n",
] * 8
SPECIAL = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|tool|>"]
PLAIN_ADDED = ["<think>", "</think>", "<tool_call>", "</tool_call>"]


def byte_level(folder: Path, *, adds_bos: bool = False, is_lower: bool = False) -> Path:
    """As GPT-2, Llama 3, Qwen and SmolLM: any byte is a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if is_lower:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in PLAIN_ADDED])
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            "<|bos|> $A", special_tokens=[("<|bos|>", 0)]
        )
    return _saved(tokenizer, folder)


def sentence_piece(folder: Path) -> Path:
    """As Llama 2, Mistral 7B, Phi-3 and Gemma: spaces are ▁, and what has no token goes byte by byte."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*"▁abcdefghilnortuw", "he", "▁he", "ll", "▁hell", "▁hello", "or", "ld"]
    merges = [("h", "e"), ("▁", "he"), ("l", "l"), ("▁he", "ll"), ("▁hell", "o"), ("o", "r"), ("l", "d")]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return _saved(tokenizer, folder)


def unigram(folder: Path) -> Path:
    """As T5 and XLM-R."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁hello", -3.0), ("▁wor", -4.0), ("ld", -4.5)]
    pieces += [(char, -8.0) for char in "abcdehlorw"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _saved(tokenizer, folder)


def word_piece(folder: Path) -> Path:
    """As BERT."""
    pieces = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "hello": 3, "wor": 4, "##ld": 5}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return _saved(tokenizer, folder)


def _saved(tokenizer: Tokenizer, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path
