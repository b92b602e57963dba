"""A prompt's twin: the same words with the class noun for the subject's name, so that the base can draw it."""

import re

from pipeline.params import Subject

DETERMINERS = set(
    "a an the this that these those my our your his her its their one two three some any each every another no".split()
)
# Words that end a noun phrase: a determiner before one of them belongs to another noun ("a hat on mysks").
BETWEEN = set(
    "about above across after against along among and around as at before behind below beneath beside between beyond "
    "but by down during for from in inside into is are was were like near next of off on onto or out outside over past "
    "than through to toward towards under until up upon versus via when where which while who with within without "
    "carrying depicting featuring holding hugging showing wearing".split()
)
VOWEL = re.compile(r"(?!uni(?!n|m)|us[aeiu]|eu|one\b|once\b|ukulele|uten|ufo)[aeiou]|hour|heir|honest|honou?r", re.I)


def with_article(noun: str) -> str:
    """The noun with its indefinite article: 'an owl', 'a unicorn', 'an hourglass'."""
    return f"{article(noun)} {noun}"


def article(noun: str) -> str:
    """The indefinite article, 'a' or 'an', that stands before a noun or an adjective."""
    return "an" if VOWEL.match(noun) else "a"


def name_pattern(subject: Subject) -> re.Pattern[str]:
    """Finds the subject's name in a text, with its class noun or without, whatever the case of ASCII letters."""
    token, noun = re.escape(subject.token), re.escape(subject.class_noun)
    return re.compile(rf"(?<![\w-])(?ai:{token}(?: {noun})?)(?![\w-])")


def twin_of(text: str, name: re.Pattern[str], noun: str) -> str:
    """The text with the class noun wherever `name` stands.

    The noun gets its article, but for one that has a determiner already: 'a photo of mysks' becomes 'a photo of a toy',
    'a red mysks, in the rain' becomes 'a red toy, in the rain', and 'my mysks' becomes 'my toy'. An article directly
    before the name becomes the noun's own: 'a mysks owl' is 'an owl'.
    """
    found, at = "", 0
    for hit in name.finditer(text):
        found += text[at : hit.start()]
        before = found.split()
        if _determined(before):
            found = re.sub(r"\b([Aa])n?(\s+)$", lambda own: f"{own[1]}{article(noun)[1:]}{own[2]}", found)
            found += noun
        else:
            found += with_article(noun)
        at = hit.end()
    return found + text[at:]


def _determined(before: list[str]) -> bool:
    """Whether the words before a name give it a determiner, adjectives between the two or not."""
    for place, word in enumerate(reversed(before)):
        plain = word.casefold()
        if re.search(r"[.;:!?)\]]$" if place else r"[^\w'\u2019]$", plain):
            return False
        plain = plain.rstrip(",")
        if plain in DETERMINERS or re.search(r"['\u2019]s$|s['\u2019]$", plain):
            return True
        if plain in BETWEEN:
            return False
    return False
