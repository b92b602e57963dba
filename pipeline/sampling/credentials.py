"""Content Credentials (C2PA) of drawn pictures: what drew them, signed together with the picture's bytes."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from pipeline import __version__
from pipeline.errors import UserError
from pipeline.sampling.signing_authority import SigningIdentity, trusted_roots

if TYPE_CHECKING:
    from PIL.Image import Image

ORIGIN = "org.dreamtrace.origin"  # the assertion that holds the record
WHOLE = "record"  # in that assertion: the whole record as JSON
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"  # IPTC's mark, for C2PA and XMP
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
MAGIC = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}  # how files begin
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{GENERATED}</Iptc4xmpExt:DigitalSourceType>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
CHANGED = ("assertion.dataHash.mismatch", "assertion.boxesHash.mismatch", "assertion.bmffHash.mismatch")


class CredentialsError(UserError):
    """A picture cannot be read, or carries no credentials of this program."""


@dataclass(frozen=True)
class Credentials:
    """The record that a picture carries.

    `state` is C2PA's: *trusted* (unchanged since it was signed, by a certificate whose root is trusted here), *valid*
    (unchanged, by somebody unknown) or *invalid* (picture or credentials were changed).
    """

    record: dict[str, Any]
    state: Literal["trusted", "valid", "invalid"]
    signer: str
    detail: str


def picture_format(file: Path) -> str:
    """'png', 'jpeg' or 'webp', by the ending of a file's name.

    Raises:
        CredentialsError: another ending.
    """
    found = FORMATS.get(file.suffix.lower())
    if found is None:
        raise CredentialsError(f"{file} must end in {', '.join(FORMATS)}: these formats carry Content Credentials")
    return found


def pixel_digest(picture: "Image") -> str:
    """sha256 of a picture's size and RGB values: the same for every lossless file of it."""
    pixels = np.asarray(picture.convert("RGB"))
    return hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}".encode() + pixels.tobytes()).hexdigest()


def signed_picture(picture: "Image", record: dict[str, Any], kind: str, identity: SigningIdentity) -> bytes:
    """A picture as a PNG, JPEG (quality 95) or lossless WebP file that carries `record`, signed with its bytes."""
    from c2pa import Builder, C2paSignerInfo, Context, Signer

    plain = _encoded(picture, kind)
    mime = f"image/{kind}"
    software = {"name": "dreamtrace", "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": software}
    manifest = {
        "claim_generator_info": [software],
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": ORIGIN, "data": _as_assertion({**record, "pixels": pixel_digest(picture)})},
        ],
    }
    signer = Signer.from_info(
        C2paSignerInfo(alg=identity.algorithm.encode(), sign_cert=identity.chain, private_key=identity.key, ta_url=None)
    )
    target = io.BytesIO()
    context = Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    Builder(json.dumps(manifest), context).sign(signer, mime, io.BytesIO(plain), target)
    return target.getvalue()


def read_credentials(file: Path) -> Credentials | None:
    """The record that a picture carries, checked against its bytes; None where it carries no record of this program.

    Credentials of a picture that another program changed and signed again name this program's as an ingredient: these
    are found, and `detail` says so.

    Raises:
        CredentialsError: the file cannot be read.
    """
    from c2pa import C2paError

    mime = f"image/{picture_format(file)}"
    try:
        with file.open("rb") as stream:
            return _read(stream, mime)
    except (C2paError, OSError) as error:
        raise CredentialsError(f"the Content Credentials of {file} cannot be read ({error})") from None


def _read(stream: BinaryIO, mime: str) -> Credentials | None:
    from c2pa import C2paError, Context, Reader

    settings: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False}}
    if roots := trusted_roots():
        settings["trust"] = {"trust_anchors": roots.decode()}
    try:
        with Reader(mime, stream, context=Context.from_dict(settings)) as reader:
            found = json.loads(reader.json())
    except C2paError.ManifestNotFound:
        return None
    manifests: dict[str, Any] = found["manifests"]
    active = found.get("active_manifest")
    for label, manifest in sorted(manifests.items(), key=lambda item: item[0] != active):
        records = [_as_record(row["data"]) for row in manifest.get("assertions", []) if row["label"] == ORIGIN]
        if records:
            return _credentials(found, manifest, records[0], label == active)
    return None


def credentials_in(content: bytes) -> Credentials | None:
    """`read_credentials` of a picture file's bytes, whatever its name; None, too, where it is of no format of ours."""
    from c2pa import C2paError

    kind = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)
    try:
        return None if kind is None else _read(io.BytesIO(content), f"image/{kind}")
    except C2paError:  # damaged: it says nothing
        return None


def _credentials(found: dict[str, Any], manifest: dict[str, Any], record: dict[str, Any], own: bool) -> Credentials:
    signature = manifest.get("signature_info", {})
    signer = signature.get("common_name") or signature.get("issuer") or "somebody unnamed"
    codes = [row["code"] for row in found.get("validation_status", [])]
    state = {"Trusted": "trusted", "Valid": "valid"}.get(found.get("validation_state", ""), "invalid")
    if state == "invalid":
        wrong = [code for code in codes if code != "signingCredential.untrusted"]
        what = "the picture was changed after it was signed" if set(codes) & set(CHANGED) else "the signature is broken"
        return Credentials(record, "invalid", signer, f"{what} ({', '.join(wrong)})")
    if not own:
        detail = f"another program changed the picture after {signer} had signed it, and signed it again"
        return Credentials(record, "valid", signer, detail)
    trust = "whose root is trusted here" if state == "trusted" else "whose root is not trusted here"
    return Credentials(
        record, "trusted" if state == "trusted" else "valid", signer, f"unchanged since {signer} signed it, {trust}"
    )


def _as_assertion(record: dict[str, Any]) -> dict[str, Any]:
    """A record for c2pa, which damages lists of numbers: whole as a text, and its plain values for other programs."""
    plain = {key: value for key, value in record.items() if not isinstance(value, (dict, list, tuple))}
    return {**plain, WHOLE: json.dumps(record, ensure_ascii=False)}


def _as_record(data: dict[str, Any]) -> dict[str, Any]:
    """The record of an assertion; earlier versions wrote it without `WHOLE`."""
    try:
        return dict(json.loads(data[WHOLE]))
    except (KeyError, ValueError, TypeError):  # or somebody changed it, which the signature tells
        return data


def _encoded(picture: "Image", kind: str) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    target, picture = io.BytesIO(), picture.convert("RGB")
    if kind == "png":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP)
        picture.save(target, format="PNG", pnginfo=text)
    elif kind == "jpeg":
        picture.save(target, format="JPEG", quality=95, subsampling=0, xmp=XMP.encode())
    else:
        picture.save(target, format="WEBP", lossless=True, xmp=XMP.encode())
    return target.getvalue()
