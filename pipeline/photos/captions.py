"""Captions: from metadata files (`metadata.jsonl`, `metadata.csv`, kohya's JSON) and text files beside the photos."""

import difflib
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.params import word_pattern
from pipeline.photos.caption_rows import Row, read_rows
from pipeline.photos.file_kinds import FileKinds, NameIndex, printable
from pipeline.photos.text import TextProblem, clean_text, decode_text

DETERMINERS = ("a", "an", "the", "my", "our", "your", "his", "her", "their", "this")
NEAR = 0.8  # similarity of two words; above it one is taken for a misspelling of the other: 'masks' and 'mysks' have it
LONG = 4  # letters of a token that hardly stand in an ordinary word
SAMPLE_TOKEN = "mysks"  # of the sample photos, and of the presets


@dataclass(frozen=True)
class Caption:
    """What is said of one photo; `scene` is None where nobody named it.

    `given` is what was written, where the rule of `name_subject` changed it: "" where nothing was. Else it is None.
    `by` is who wrote it, where the metadata say so.
    """

    text: str
    scene: str | None = None
    given: str | None = None
    by: str | None = None


@dataclass
class Captions:
    """Captions by the photo's name; problems and notes, each a sentence that begins with a file's name."""

    found: dict[str, Caption] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_captions(kinds: FileKinds, read: Callable[[str], bytes], token: str, class_noun: str) -> Captions:
    """The caption of every photo, with the token spelled as in params.yaml.

    A photo may have its caption in several places, as long as they say the same. One that lacks the token gets it by
    the rule of `name_subject`, with a note.

    Args:
        read: the bytes of a file of the folder, by name; may raise OSError.
        class_noun: what kind of thing the subject is; it follows the token that the rule puts in.
    """
    captions = Captions()
    given: dict[str, list[tuple[str, Caption]]] = {}
    rows, unreadable = _from_metadata(kinds, read, captions)
    for row in rows + _from_texts(kinds, read, captions):
        given.setdefault(row.name, [])
        if row.text is None:
            continue
        try:
            text, scene, by = (clean_text(value or "") for value in (row.text, row.scene, row.by))
            caption = Caption(spell_token(text, token), scene or None, by=by or None)
        except TextProblem as problem:
            captions.problems.append(f"{row.where}: {problem}")
        else:
            given[row.name].append((row.where, caption))
    for name, found in sorted(given.items()):
        _settle(name, found, captions)
    missing = sorted(set(kinds.photos) - set(given))
    if len(missing) <= unreadable:  # theirs are the rows that were named
        missing = []
    captions.found |= {name: Caption("") for name in missing}
    _name_subject(captions, token, class_noun)
    return captions


def text_owners(kinds: FileKinds) -> dict[str, list[str]]:
    """For each text file the photos whose caption it is, by its name."""
    names, stems = NameIndex(kinds.photos), NameIndex(kinds.photos, "stem")
    return {file: names.find(Path(file).stem) or stems.find(Path(file).stem) for file in kinds.captions}


def name_subject(text: str, token: str, class_noun: str) -> str:
    """A caption in which `token` names the subject; one that has the token stays as it is.

    Nothing becomes "a photo of mysks plush toy", "my plush toy on a sofa" becomes "mysks plush toy on a sofa", and
    "on a sofa" becomes "a photo of mysks plush toy, on a sofa".
    """
    if has_word(text, token):
        return text
    named = f"{token} {class_noun}"
    if not text:
        return f"a photo of {named}"
    noun = re.compile(rf"(?<![\w-])(?ai:(?:{'|'.join(DETERMINERS)}) )?(?ai:{re.escape(class_noun)})(?![\w-])")
    replaced, count = noun.subn(lambda _: named, text, count=1)
    return replaced if count else f"a photo of {named}, {text}"


def near_token(text: str, token: str) -> str | None:
    """A word of `text` that looks like the token and is not it: misspelled, or part of a longer word."""
    token = token.casefold()
    for word in text.split():
        plain = _without_accents(word).casefold().strip(".,;:!?\"'()")
        if _is_part(token, plain) or difflib.SequenceMatcher(None, plain, token).ratio() > NEAR:
            return word
    return None


def _is_part(token: str, word: str) -> bool:
    """Whether a word has the token in it; a short one as a part of its own: any few letters are in ordinary words."""
    if len(token) >= LONG:
        return token in word
    return re.search(rf"(?<![^\W\d_]){re.escape(token)}(?![^\W\d_])", word) is not None


def _without_accents(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))


def other_token(captions: Captions, token: str, class_noun: str) -> str | None:
    """A problem where all captions name another subject than params.yaml: one of the two is still the sample's.

    Photos of one's own with the sample's parameters, or the sample's photos with parameters of one's own. That all
    captions have the same word before the class noun means nothing by itself: it may be 'my' or 'brown'.
    """
    given = [caption.given for caption in captions.found.values()]
    written = [text for text in given if text]
    if None in given or len(written) < 2:
        return None
    before = re.compile(rf"([\w-]+) (?ai:{re.escape(class_noun)})(?![\w-])")
    words = {found[1].lower() if (found := before.search(text)) else "" for text in written}
    word = words.pop()
    if words or word in ("", *DETERMINERS) or SAMPLE_TOKEN not in (word, token.lower()):
        return None
    return (
        f"the captions name the subject '{word}', params.yaml names it '{token}': set subject.token to {word}, or take "
        "the word out of the captions"
    )


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a word of its own, whatever the case."""
    return word_pattern(word).search(text) is not None


def spell_token(text: str, token: str) -> str:
    """`text` with the token in the spelling of params.yaml, however it was written ('MYSKS', 'Mysks')."""
    return word_pattern(token).sub(token, text)


def _from_metadata(kinds: FileKinds, read: Callable[[str], bytes], captions: Captions) -> tuple[list[Row], float]:
    """Rows of the metadata files with the names of their photos, and how many were unreadable (inf: a whole file)."""
    names, stems = NameIndex(kinds.photos), NameIndex(kinds.photos, "stem")
    found: list[Row] = []
    unreadable = 0.0
    for file in kinds.metadata:
        seen: set[str] = set()
        before = len(captions.problems)
        content = _content(file, read, captions)
        rows = list(read_rows(file, content, captions.problems)) if content is not None else []
        wrong = len(captions.problems) - before
        unreadable += wrong if rows or not wrong else math.inf
        for row in rows:
            photos = names.find(row.name) or (stems.find(row.name) if row.stem else [])
            if len(photos) != 1:
                captions.problems.append(f"{row.where}: {_no_photo(row.name, photos, kinds.photos)}")
            elif photos[0] in seen:
                captions.problems.append(f"{row.where}: {photos[0]} has a caption already")
            else:
                seen.add(photos[0])
                found.append(replace(row, name=photos[0]))
    return found, unreadable


def _from_texts(kinds: FileKinds, read: Callable[[str], bytes], captions: Captions) -> list[Row]:
    """Captions from text files, each for the photos of its name: `a.txt` or `a.jpg.txt` for `a.jpg`."""
    found: list[Row] = []
    for file, photos in text_owners(kinds).items():
        if not photos:
            captions.notes.append(f"{printable(file)}: belongs to no photo and is not read")
            continue
        content = _content(file, read, captions)
        text = None if content is None else _from_text(file, content, captions)
        found += [Row(file, photo, text) for photo in photos]
    return found


def _content(file: str, read: Callable[[str], bytes], captions: Captions) -> bytes | None:
    try:
        return read(file)
    except OSError as error:
        captions.problems.append(f"{file}: cannot be read: {error.strerror or error}")
        return None


def _no_photo(name: str, photos: list[str], known: list[str]) -> str:
    if photos:
        return f"{printable(name)} may mean {' or '.join(photos)}; write the name as it is"
    near = difflib.get_close_matches(name, known, 1, 0.8)
    return f"names {printable(name)}, which is not there" + (f"; did you mean {near[0]}?" if near else "")


def _from_text(file: str, content: bytes, captions: Captions) -> str | None:
    try:
        text = decode_text(content)
    except TextProblem as problem:
        captions.problems.append(f"{file}{f', line {problem.line}' if problem.line else ''}: {problem}")
        return None
    if text.startswith("{\\rtf"):
        captions.problems.append(f"{file}: is RTF; save it as plain text")
        return None
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1:
        captions.problems.append(
            f"{file}: holds {len(lines)} lines; write the caption as one line "
            "(other trainers take each line for a caption of its own)"
        )
        return None
    return lines[0] if lines else ""


def _name_subject(captions: Captions, token: str, class_noun: str) -> None:
    """Put the token into the captions that lack it, and say so."""
    silent = []
    for name, caption in sorted(captions.found.items()):
        text = name_subject(caption.text, token, class_noun)
        if text == caption.text:
            continue
        if near := near_token(caption.text, token):
            captions.problems.append(
                f"{name}: its caption lacks the token '{token}', and '{near}' is not it; correct it, or leave it out: "
                f'"{caption.text}"'
            )
            continue
        captions.found[name] = replace(caption, text=text, given=caption.text)
        if caption.text:
            captions.notes.append(f'{name}: its caption "{caption.text}" lacks the token; it is read as "{text}"')
        else:
            silent.append(name)
    if silent:
        others = f" and {len(silent) - 1} other{'s' * (len(silent) > 2)}" if len(silent) > 1 else ""
        verb = "have no caption and are" if others else "has no caption and is"
        captions.notes.append(f'{silent[0]}{others}: {verb} called "{name_subject("", token, class_noun)}"')


def _settle(name: str, found: list[tuple[str, Caption]], captions: Captions) -> None:
    """One caption from all that were found for a photo; a problem where they disagree.

    An empty one says nothing where there is another.
    """
    if not found:
        return
    said = [(where, caption) for where, caption in found if caption.text] or found
    texts = {caption.text: where for where, caption in reversed(said)}
    scenes = {caption.scene: where for where, caption in reversed(found) if caption.scene}
    for values, what in ((texts, "captions"), (scenes, "scenes")):
        if len(values) > 1:
            told = "; ".join(f'{where}: "{text}"' for text, where in values.items())
            captions.problems.append(f"{name}: has {len(values)} {what} that differ ({told}); keep one")
    by = next((caption.by for _, caption in said if caption.by), None)
    captions.found[name] = Caption(said[0][1].text, next(iter(scenes), None), by=by)
