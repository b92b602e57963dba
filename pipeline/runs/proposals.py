"""Captions and masks that programs propose for photos, kept apart from the photos until a person approves them.

Each carries the sha256 of its photo and counts for no other photo of that name. One that a person wrote may lack it.
"""

import io
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import digest_file, read_jsonl, write_bytes, write_jsonl, write_text
from pipeline.layout import DATA, PROPOSALS
from pipeline.params import Params
from pipeline.photos.caption_rows import row_line, row_owner, with_text
from pipeline.photos.captions import Caption, read_captions
from pipeline.photos.file_kinds import MASKS, METADATA, FileKinds, NameIndex, printable, scan_folder
from pipeline.photos.masks import mask_owners
from pipeline.photos.problem import PhotoProblem
from pipeline.photos.read import open_photo

if TYPE_CHECKING:
    from PIL.Image import Image

CAPTIONS = PROPOSALS / "captions.jsonl"
PAINTED = PROPOSALS / MASKS
PHOTO = "Photo"  # the text of a proposed mask that holds the sha256 of its photo
PICTURE_SIDE = 1024  # pixels of the longer side that a captioning network is shown


class ProposalError(UserError):
    """Nothing can be proposed, or what was proposed does not fit the photos; the message says why."""


@dataclass(frozen=True)
class Accepted:
    """Names of the photos that got a caption and a mask, and sentences on those that did not."""

    captions: list[str]
    masks: list[str]
    left: list[str]


@dataclass(frozen=True)
class Proposed:
    """What was proposed now, by photo (its words, or the name of its mask's file), and the photos, of those that are
    there, whose proposal of before was kept.
    """

    new: dict[str, str]
    kept: list[str]


def propose_captions(
    workspace: Path, params: Params, write: Callable[[Sequence["Image"], str], list[str]], by: str, again: bool = False
) -> Proposed:
    """Propose a caption for every photo without one; they are kept in `.dreamtrace/proposals/captions.jsonl`.

    Proposals that are there already stay as they are: somebody may have corrected them. So do those of photos that are
    gone, which may come back; another photo of the same name gets one of its own.

    Args:
        write: captions for pictures, given the class noun.
        by: who writes them, for the record.
        again: propose anew for photos with a proposal, too, and replace it.

    Raises:
        ProposalError: there are no photos, or a photo, its caption or the proposals of before cannot be read.
    """
    kinds = _photos(workspace)
    written = _captioned(workspace, kinds, params)
    kept = [] if again else sorted(_told_of(workspace, kinds.photos).keys() - written)
    names = [name for name in kinds.photos if name not in written and name not in kept]
    digests = {name: digest_file(workspace / DATA / name) for name in names}
    pictures = [_small(picture) for picture in _pictures(workspace, names, params)]
    texts = write(pictures, params.subject.class_noun) if names else []
    # Writing takes minutes: look again.
    gone = [row for row in _told(workspace) if row["file_name"] not in kinds.photos]
    told = {} if again else _told_of(workspace, set(kinds.photos) - written)
    new = {name: text for name, text in zip(names, texts, strict=True) if name not in told}
    rows = [{"file_name": name, "text": text, "by": by, "sha256": digests[name]} for name, text in new.items()]
    write_jsonl(workspace / CAPTIONS, [*gone, *told.values(), *rows])
    return Proposed(new, kept)


def propose_masks(
    workspace: Path,
    params: Params,
    paint: Callable[[Sequence["Image"], str], list["Image"]],
    by: str,
    again: bool = False,
) -> Proposed:
    """Propose a mask for every photo without one, as PNG files in `.dreamtrace/proposals/masks`.

    Photos whose background is transparent need none. Masks that are proposed already stay as they are: somebody may
    have repainted them. So do those of photos that are gone; another photo of the same name gets one of its own.

    Args:
        paint: masks of pictures, given the class noun.
        by: who paints them, for the record.
        again: propose anew for photos with a proposal, too, and replace it.

    Raises:
        ProposalError: there are no photos, or a photo cannot be read.
    """
    from PIL.PngImagePlugin import PngInfo

    kinds = _photos(workspace)
    masked = {photo for photos in mask_owners(kinds).values() for photo in photos}
    before = {name for name in kinds.photos if painted_for(workspace, name)}
    kept = [] if again else sorted(before - masked)
    names = [name for name in kinds.photos if name not in masked and name not in kept]
    digests = {name: digest_file(workspace / DATA / name) for name in names}
    made = {}
    for name, picture in zip(names, _pictures(workspace, names, params), strict=True):
        (mask,) = paint([picture], params.subject.class_noun)
        info, content = PngInfo(), io.BytesIO()
        info.add_itxt("Author", by)
        info.add_itxt(PHOTO, digests[name])
        mask.save(content, format="PNG", pnginfo=info)
        if name not in before and painted_for(workspace, name):
            kept.append(name)  # somebody put one there while the network worked
            continue
        write_bytes(workspace / PAINTED / f"{name}.png", content.getvalue())
        made[name] = f"{name}.png"
    for name in masked:
        (workspace / PAINTED / f"{name}.png").unlink(missing_ok=True)
    return Proposed(made, sorted(kept))


def proposed(workspace: Path) -> dict[str, dict[str, str]]:
    """What is proposed for the photos that are there: the keys `caption` (words) and `mask` (a file), where one is.

    Raises:
        ProposalError: the proposals cannot be read.
    """
    found: dict[str, dict[str, str]] = {}
    told, painted = _told(workspace), _painted(workspace)
    for name, row in _told_of(workspace, {row["file_name"] for row in told}).items():
        found.setdefault(name, {})["caption"] = str(row["text"]).strip()
    for name, file in painted.items():
        if painted_for(workspace, name):
            found.setdefault(name, {})["mask"] = file.name
    return dict(sorted(found.items()))


def accept(workspace: Path, params: Params, who: str, only: Sequence[str] = ()) -> Accepted:
    """Put proposals into `data/`, with the name of who approved them; what is there is never replaced.

    Args:
        only: names of photos; none: all.

    Raises:
        ProposalError: nothing is proposed, or `only` names a photo without a proposal.
    """
    kinds = _photos(workspace)
    rows = _rows(workspace / CAPTIONS)
    texts = {str(row["file_name"]): row for row in rows if str(row.get("text", "")).strip()}
    masks = _painted(workspace)
    proposed = texts.keys() | masks.keys()
    if not proposed:
        raise ProposalError("nothing is proposed: run `dreamtrace propose captions` or `dreamtrace propose masks`")
    if unknown := [name for name in only if name not in proposed]:
        raise ProposalError(f"nothing is proposed for {', '.join(unknown)}; there is for {', '.join(sorted(proposed))}")
    wanted = set(only) or proposed
    left = [f"{name}: is no longer among the photos" for name in sorted(wanted - set(kinds.photos))]
    wanted &= set(kinds.photos)
    written = _captioned(workspace, kinds, params)
    masked = {photo for photos in mask_owners(kinds).values() for photo in photos}
    left += [f"{name}: has a caption already" for name in sorted(wanted & texts.keys() & written)]
    left += [f"{name}: has a mask already" for name in sorted(wanted & masks.keys() & masked)]
    new_texts = sorted(_told_of(workspace, wanted & texts.keys()).keys() - written)
    new_masks = sorted(name for name in (wanted & masks.keys()) - masked if painted_for(workspace, name))
    for what, others in (
        ("caption", (wanted & texts.keys()) - written - set(new_texts)),
        ("mask", (wanted & masks.keys()) - masked - set(new_masks)),
    ):
        again = f"`dreamtrace propose {what}s` proposes one for this photo"
        left += [f"{name}: its {what} was proposed for another photo of this name: {again}" for name in sorted(others)]
    _add_captions(workspace, kinds, params, {name: _approved(texts[name], who) for name in new_texts})
    for name in new_masks:
        write_bytes(workspace / DATA / MASKS / f"{name}.png", _with_approval(masks[name], who))
        masks[name].unlink()
    if rows:
        write_jsonl(workspace / CAPTIONS, [row for row in rows if row["file_name"] not in new_texts])
    return Accepted(new_texts, new_masks, left)


def _approved(row: dict[str, Any], who: str) -> dict[str, str]:
    by = str(row.get("by") or "unknown")
    return {"file_name": str(row["file_name"]), "text": str(row["text"]), "by": f"{by}, approved by {who}"}


def _with_approval(file: Path, who: str) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    with Image.open(file) as picture:
        info, target = PngInfo(), io.BytesIO()
        info.add_itxt("Author", f"{picture.info.get('Author', 'unknown')}, approved by {who}")
        picture.save(target, format="PNG", pnginfo=info)
    return target.getvalue()


def _add_captions(workspace: Path, kinds: FileKinds, params: Params, new: dict[str, dict[str, str]]) -> None:
    """Fill the rows of metadata.jsonl whose text is empty, and append the others; every other row stays as it is."""
    if not new:
        return
    path = workspace / DATA / METADATA
    left, names, filled = dict(new), NameIndex(kinds.photos), []
    for row in _rows(path):
        found = left.pop(row_owner(row, names) or "", None)
        filled.append(row if found is None else with_text(row, found["text"]) | {"by": found["by"]})
    content = "".join(f"{row_line(row)}\n" for row in [*filled, *left.values()])
    metadata = sorted({*kinds.metadata, METADATA})
    _read(workspace, replace(kinds, metadata=metadata), params, {METADATA: content.encode()})
    write_text(path, content)


def _told(workspace: Path) -> list[dict[str, Any]]:
    """The rows of the proposed captions that are not empty."""
    return [row for row in _rows(workspace / CAPTIONS) if str(row.get("text", "")).strip()]


def _told_of(workspace: Path, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows, by photo, whose captions are proposed for the photos of these names as they are now."""
    rows = [row for row in _told(workspace) if row["file_name"] in names]
    return {row["file_name"]: row for row in rows if _is_of(workspace / DATA / row["file_name"], row.get("sha256"))}


def painted_for(workspace: Path, name: str) -> Path | None:
    """The file of the mask that is proposed for a photo as it is now."""
    from PIL import Image

    file, photo = workspace / PAINTED / f"{name}.png", None
    if not file.is_file():
        return None
    try:
        with Image.open(file) as mask:
            photo = mask.info.get(PHOTO)
    except (OSError, ValueError, SyntaxError):  # a person put it there; what is wrong with it is said when it is used
        pass
    return file if _is_of(workspace / DATA / name, photo) else None


def _is_of(photo: Path, digest: str | None) -> bool:
    """Whether a proposal for a photo with this digest (None: unknown) is for the photo that is there."""
    return photo.is_file() and digest in (None, digest_file(photo))


def _painted(workspace: Path) -> dict[str, Path]:
    """The files of the proposed masks, by photo."""
    return {file.name.removesuffix(".png"): file for file in sorted((workspace / PAINTED).glob("*.png"))}


def _rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file; none where there is no file."""
    try:
        rows = read_jsonl(path) if path.is_file() else []
    except (ValueError, OSError) as error:
        raise ProposalError(f"{path} cannot be read as JSON lines ({error}); write one object in each line") from None
    if not all(isinstance(row, dict) and isinstance(row.get("file_name"), str) for row in rows):
        raise ProposalError(f"{path}: every line must be an object with a file_name")
    if halves := sorted({row["file_name"] for row in rows if row_line(row) != json.dumps(row, ensure_ascii=False)}):
        raise ProposalError(f"{path}: has half a letter in the lines of {', '.join(map(printable, halves))}; remove it")
    return rows


def _photos(workspace: Path) -> FileKinds:
    folder = workspace / DATA
    kinds, problems = scan_folder(folder) if folder.is_dir() else (FileKinds(), [f"there is no folder {folder}"])
    if not kinds.photos and not problems:
        problems = [f"{folder} holds no photos"]
    if problems:
        raise ProposalError("nothing can be proposed:\n" + "\n".join(f"  {problem}" for problem in problems))
    return kinds


def _captioned(workspace: Path, kinds: FileKinds, params: Params) -> set[str]:
    """The photos whose caption a person wrote."""
    return {name for name, caption in _read(workspace, kinds, params, {}).items() if caption.given != ""}


def _read(workspace: Path, kinds: FileKinds, params: Params, instead: dict[str, bytes]) -> dict[str, Caption]:
    """The captions, with the contents `instead` in place of files; refused where the stage `prepare` would refuse."""

    def content(name: str) -> bytes:
        return instead[name] if name in instead else (workspace / DATA / name).read_bytes()

    found = read_captions(kinds, content, params.subject.token, params.subject.class_noun)
    if found.problems:
        raise ProposalError("the captions have problems:\n" + "\n".join(f"  {problem}" for problem in found.problems))
    return found.found


def _pictures(workspace: Path, names: Sequence[str], params: Params) -> list["Image"]:
    pictures, problems = [], []
    for name in names:
        try:
            pictures.append(open_photo(workspace / DATA / name, params.prepare.max_pixels, params.prepare.min_side))
        except PhotoProblem as problem:
            problems.append(f"{name}: {problem}")
    if problems:
        raise ProposalError("these photos cannot be read:\n" + "\n".join(f"  {problem}" for problem in problems))
    return pictures


def _small(picture: "Image") -> "Image":
    copy = picture.copy()
    copy.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return copy
