"""Whether prompts can tell the learned words of two models apart, when both draw one picture."""

from collections.abc import Collection

from pipeline.sampling.prompt_encoder import token_words

ANOTHER = "train one of them with another token"


def mixed_up(one: Collection[str], other: Collection[str]) -> str | None:
    """Why a prompt cannot name two models apart by their learned words, as a sentence; None where it can.

    The words of a model are those of all vectors of its token: `mysks`, `mysks_1`, `mysks_2`. Case does not count, as
    in the tokenizer.
    """
    lowered = {word.lower(): word for word in sorted(one)}
    for word in other:
        known = lowered.get(word.lower())
        if known == word:
            return f"two of the models know the word '{word}'; {ANOTHER}"
        if known is not None:
            return f"two of the models know the words '{known}' and '{word}', which differ in case alone; {ANOTHER}"
    first, second = token_words(set(one)), token_words(set(other))
    together = token_words({*one, *other})
    for token, words in {**first, **second}.items():
        if longer := [word for word in together.get(token, ()) if word not in words]:
            return (
                f"'{longer[0]}' of one model would be read as a further vector of the token '{token}' of another; "
                f"{ANOTHER}"
            )
    for token, words in first.items():
        for further, more in second.items():
            short, long = sorted((token, further), key=len)
            if long.lower().startswith(f"{short.lower()}-") and len(words) + len(more) > 2:
                return f"the token '{long}' of one model would be read as the token '{short}' of another; {ANOTHER}"
    return None
