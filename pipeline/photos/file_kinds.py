"""What each file of a photo folder is for: photo, caption, mask, sidecar or clutter."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

METADATA = "metadata.jsonl"
METADATA_FILES = (METADATA, "metadata.csv", "metadata.json")
KOHYA_METADATA = re.compile(r"^meta_[\w-]+\.json$")
CAPTION_ENDINGS = (".txt", ".caption")
MASKS = "masks"
MASK_MARKS = ("-masklabel", ".mask")  # as other trainers call a mask beside its photo: photo-masklabel.png
CLUTTER = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "readme", "readme.md", "readme.txt", "license",
    "license.txt", "license.md", "licence", "licence.txt", "licence.md", "@eadir", "__macosx", "#recycle",
}  # fmt: skip
SIDECARS = {".mov", ".mp4", ".aae", ".xmp", ".thm", ".npz", ".safetensors", ".json", ".pp3", ".dop"}
NOT_READ = {
    ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".yaml", ".yml", ".toml", ".xml", ".html", ".md", ".docx", ".doc",
    ".odt", ".rtf", ".xlsx", ".ods", ".cap", ".tag", ".tags", ".prompt", ".text", ".srt", ".log", ".ini",
}  # fmt: skip


@dataclass
class FileKinds:
    """The files of a photo folder by what they are for; names are relative to it, with `/` between folder and file."""

    photos: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    sidecars: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)


class NameIndex:
    """Finds names exactly, or else regardless of case and of composed or decomposed letters."""

    def __init__(self, names: Iterable[str], key: str = "name"):
        self.exact: dict[str, list[str]] = {}
        self.loose: dict[str, list[str]] = {}
        for name in names:
            label = Path(name).stem if key == "stem" else name
            self.exact.setdefault(label, []).append(name)
            self.loose.setdefault(loosely(label), []).append(name)

    def find(self, label: str) -> list[str]:
        """The names that `label` may mean; more than one where it is ambiguous."""
        return self.exact.get(label) or self.loose.get(loosely(label), [])


def loosely(name: str) -> str:
    """`name` without the differences that file systems make: case, and accents that stand apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_clutter(name: str) -> bool:
    """Whether an entry is hidden (`._IMG_1.jpg`, `.DS_Store`) or is made by a file manager for itself."""
    return name.startswith(".") or name.lower() in CLUTTER


def sort_files(names: Iterable[str]) -> FileKinds:
    """The kind of each file, by its name and those of the others; clutter and files in other folders are left out."""
    kinds = FileKinds()
    rest: list[str] = []
    for name in sorted(names):
        folder, _, file = name.rpartition("/")
        suffix = Path(file).suffix.lower()
        if is_clutter(file) or (folder and folder.lower() != MASKS):
            continue
        if folder:
            kinds.masks.append(name)
        elif file.lower() in METADATA_FILES or KOHYA_METADATA.match(file.lower()):
            kinds.metadata.append(name)
        elif suffix in CAPTION_ENDINGS:
            kinds.captions.append(name)
        else:
            rest.append(name)
    beside = [name for name in rest if Path(name).stem.lower().endswith(MASK_MARKS)]
    pictures = [name for name in rest if name not in beside and Path(name).suffix.lower() not in SIDECARS | NOT_READ]
    stems = NameIndex(pictures, "stem")
    full = NameIndex(pictures)
    for name in rest:
        suffix = Path(name).suffix.lower()
        if name in beside:
            kinds.masks.append(name)
        elif suffix in SIDECARS and any(index.find(stem) for index in (stems, full) for stem in _owner_stems(name)):
            kinds.sidecars.append(name)
        elif suffix in NOT_READ:
            kinds.not_read.append(name)
        else:
            kinds.photos.append(name)
    return kinds


def _owner_stems(name: str) -> set[str]:
    """'IMG_1.jpg' and 'IMG_1' for 'IMG_1.jpg.supplemental-metadata.json', 'a' for 'a_0512x0512_sd.npz'."""
    first, *others = name.split(".")
    return {Path(name).stem, first, ".".join([first, *others[:1]]), re.sub(r"_\d{3,5}x\d{3,5}.*$", "", first)}


def scan_folder(source: Path) -> tuple[FileKinds, list[str]]:
    """The files of `source` and of its `masks`, and a sentence for each entry that nobody can read as a file.

    Links to files are followed. Nothing is opened, so that a pipe cannot hold the caller up.
    """
    names: list[str] = []
    problems: list[str] = []
    _scan(source, "", names, problems)
    kinds = sort_files(names)
    problems += [
        f"{printable(name)}: is not read; captions come from {METADATA}, metadata.csv or a text file beside each photo"
        for name in kinds.not_read
    ]
    return kinds, problems


def _scan(folder: Path, prefix: str, names: list[str], problems: list[str]) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{prefix or folder}: cannot be listed: {error.strerror}")
        return
    for entry in entries:
        if is_clutter(entry.name):
            continue
        name = prefix + entry.name
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            why = "is a link that leads nowhere" if entry.is_symlink() else f"cannot be read: {error.strerror}"
            problems.append(f"{printable(name)}: {why}; remove it, or put the file itself there")
            continue
        if stat.S_ISDIR(mode):
            if not prefix and entry.name.lower() == MASKS:
                _scan(Path(entry.path), f"{entry.name}/", names, problems)
            elif entry.is_symlink() or any(not is_clutter(inner.name) for inner in _inside(entry.path)):
                problems.append(
                    f"{printable(name)}: is a folder; photos are read from {folder} alone, and masks from its "
                    f"{MASKS}: move the files up, or the folder away"
                )
        elif not stat.S_ISREG(mode):
            problems.append(f"{printable(name)}: is a pipe, a socket or a device, not a file; remove it")
        elif problem := _name_problem(entry.name):
            problems.append(f"{printable(name)}: {problem}; rename the file")
        else:
            names.append(name)


def _inside(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def _name_problem(name: str) -> str | None:
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in name):
        return "its name is not UTF-8"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return "its name holds a line break or another control character"
    return None


def printable(name: str) -> str:
    """A name that can be printed and written as UTF-8: what cannot stands as an escape.

    That is a byte of a file's name that is not UTF-8, or half a letter, which JSON can hold ("\\ud83d").
    """
    try:
        text = os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
