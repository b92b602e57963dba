"""The tokenizer of pocket: byte-level BPE in CLIP's format, learned on the captions of its world."""

import json
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

# Everyday words that the world's captions lack: known as one token each, so that people's captions stay short.
EVERYDAY = """
above across after along another around arm armchair attic autumn back backdrop bag balcony ball bamboo bank basket bath bed
bench beside between big bird black blanket blue board boat book bottle bowl box branch brick bridge bright brown bucket
building bush cabin cafe cage candle carpet castle ceramic clay clean close cloth cloud coat coffee cold cork corner cotton
couch country courtyard cozy cup curtain cushion dark day deck desk dirt door down dry early empty evening face fallen farm
fence field fire fireplace floor flower foam fog food foot fountain frame fresh front fruit full fur garage gate glass gold
gravel gray green grey ground hall hand hay head heavy hill holding hole home ice indoor iron kettle keyboard kitchen lamp
lantern laptop large lawn leaf leaning leather leaves left library light lights little log long looking lying marble market
mat meadow metal mirror moon morning moss mug napkin nest next old open orange outdoor outside oven over paper park path
patio pebble pen phone piano picnic pier pillow pine pink pipe plant plastic plate playground pool porch post pot puddle
purple rail rain rainy red reading ribbon right river road rock roof room rope rug sandy seat seen shade shadow sheet shelf
ship shop shore short side sidewalk silver sink sky sleeping small smooth sofa soft soil spoon spring stage stair stairs
stand station steel step steps stone stool storm straw string striped summer sunny sunset swing table tall terrace tiles
towel tower town trail train tray tree trees under up vase view wall warm watching water wet wheat white wide wild window
windowsill winter wood wooden wool yard yellow young
""".split()


def learn_tokenizer(captions: Iterable[str], words: int, length: int) -> CLIPTokenizer:
    """BPE with at most `words` merges above the 512 byte symbols; prompts of at most `length` tokens."""
    counts: Counter[str] = Counter()
    for text in captions:
        counts.update(text.lower().replace(",", " ").replace("-", " ").split())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit()])
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) * 2 + words,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        min_frequency=2,
        show_progress=False,
    )
    corpus = [word for word, count in counts.items() for _ in range(2 + min(count, 400))] + EVERYDAY * 40
    learner.train_from_iterator(corpus, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    symbols = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *("".join(pair) for pair in merges)]
    symbols = list(dict.fromkeys(symbols)) + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={symbol: index for index, symbol in enumerate(symbols)},
        merges=merges,
        model_max_length=length,
    )


def encode(tokenizer: CLIPTokenizer, texts: list[str], padding: str = "max_length"):  # noqa: ANN201
    """Token ids, int64 [batch, length], padded and cut to the tokenizer's length, or to the "longest" text."""
    return tokenizer(
        texts, padding=padding, max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
