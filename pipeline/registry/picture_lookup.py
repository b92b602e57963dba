"""From a drawn picture to the short record of the model that drew it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import counted
from pipeline.lineage.links import Link
from pipeline.lineage.read import LineageError
from pipeline.photos.read import PhotoProblem, open_photo
from pipeline.sampling.credentials import FORMATS, Credentials, pixel_digest, read_credentials
from pipeline.sampling.picture_index import find_picture

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = tuple(FORMATS)
MAX_PIXELS = 200_000_000


def read_picture(workspace: Path, file: Path) -> tuple[dict[str, Any], Link]:
    """The record that a picture carries, and whether signature and pixels hold.

    A picture without credentials is looked for among those that were drawn and kept in this workspace.

    Raises:
        LineageError: the picture carries no record, and none that was kept looks like it; or its record is incomplete.
        CredentialsError: the file cannot be read.
    """
    found = read_credentials(file)
    try:
        picture = open_photo(file, MAX_PIXELS, 1)
    except PhotoProblem as problem:
        raise LineageError(f"{file} {problem.found}") from None
    if found is None:
        return _recognised(workspace, file, picture)
    if not isinstance(found.record.get("content_digest"), str):
        raise LineageError(f"the Content Credentials of {file} name no model")
    return found.record, _signature_link(file, found, picture)


def _signature_link(file: Path, found: Credentials, picture: "Image") -> Link:
    if found.state == "invalid":
        return Link("picture", "broken", found.detail)
    if file.suffix.lower() == ".png" and found.record.get("pixels") != pixel_digest(picture):
        return Link("picture", "broken", "the pixels are not those that were drawn")
    return Link("picture", "verified" if found.state == "trusted" else "unknown", found.detail)


def _recognised(workspace: Path, file: Path, picture: "Image") -> tuple[dict[str, Any], Link]:
    matches = find_picture(workspace, picture)
    if not matches:
        raise LineageError(
            f"{file} carries no Content Credentials of dreamtrace, and no picture that was drawn and kept in this "
            "workspace looks like it"
        )
    best, others = matches[0], len({match.record["content_digest"] for match in matches}) - 1
    if best.exact:
        detail = "no credentials, but exactly the pixels of a picture that was drawn here"
    else:
        detail = f"no credentials; probably a copy of a picture that was drawn here ({best.bits} of 64 bits differ)"
    if others:
        detail += f"; pictures of {counted(others, 'other model')} look like it, too"
    return best.record, Link("picture", "unknown", detail)
