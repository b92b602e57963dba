"""Content Credentials: what a picture says of itself holds for its bytes alone."""

import stat
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from pipeline.lineage.read import LineageError
from pipeline.registry.picture_lookup import read_picture
from pipeline.sampling.credentials import (
    CredentialsError,
    credentials_in,
    picture_format,
    read_credentials,
    signed_picture,
)
from pipeline.sampling.picture_index import INDEX, remember_picture
from pipeline.sampling.signing_authority import (
    CERTIFICATE,
    KEY,
    ROOTS,
    SigningError,
    own_authority,
    signing_identity,
    trusted_roots,
)
from tests.tiny import picture

RECORD = {"content_digest": "ab" * 32, "prompt": "ein plüsch ☃", "seed": 3}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without an authority and without a team's certificate."""
    for name in (CERTIFICATE, KEY, ROOTS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def drawn(folder: Path, ending: str = "png", seed: int = 1) -> Path:
    file = folder / f"drawn-{seed}.{ending}"
    file.write_bytes(signed_picture(picture(seed, 64, 64), RECORD, picture_format(file), signing_identity()))
    return file


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "webp"])
def test_a_drawn_picture_is_verified_and_one_changed_byte_breaks_it(home: Path, tmp_path: Path, ending: str) -> None:
    file = drawn(tmp_path, ending)
    record, link = read_picture(tmp_path, file)
    assert {name: record[name] for name in RECORD} == RECORD
    assert (link.name, link.state) == ("picture", "verified")
    with Image.open(file) as shown:
        assert shown.size == (64, 64)
        assert "trainedAlgorithmicMedia" in str(shown.info.get("xmp") or shown.info.get("XML:com.adobe.xmp"))
    content = bytearray(file.read_bytes())
    at = content.rindex(b"IEND") - 12 if ending == "png" else len(content) // 2 + 1
    content[at] ^= 1
    file.write_bytes(content)
    try:
        _, link = read_picture(tmp_path, file)
    except (CredentialsError, LineageError):
        return  # no longer a file of this kind: refused by name
    assert link.state == "broken", link


@pytest.mark.parametrize(
    "value",
    [
        [0.0, 0.25, 0.5, 1.0], [1, 3808896443], [[0.5, 1.0], [2.0]], [], None, True, 1.0, 2**40, {"a": [1, 2]},
        [{"place": [0.1, 0.2, 0.3, 0.4], "prompt": "a toy ☃"}], "a",
    ],
)  # fmt: skip
def test_a_record_comes_back_as_it_was(home: Path, tmp_path: Path, value: Any) -> None:
    record = {**RECORD, "recipe": {"value": value}, "value": value}
    (file := tmp_path / "drawn.png").write_bytes(signed_picture(picture(1, 64, 64), record, "png", signing_identity()))
    found = read_credentials(file)
    assert found is not None and {name: found.record[name] for name in record} == record


def test_a_picture_of_an_earlier_version_is_read_and_a_damaged_file_says_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sampling.credentials._as_assertion", lambda record: record)
    file = drawn(tmp_path)
    found, inside = read_credentials(file), credentials_in(file.read_bytes())
    assert found is not None and {name: found.record[name] for name in RECORD} == RECORD
    assert inside is not None and inside.record == found.record
    for content in (b"", b"GIF89a", file.read_bytes()[:900], b"RIFF" + bytes(64)):
        assert credentials_in(content) is None


def test_credentials_moved_to_another_picture_are_broken(home: Path, tmp_path: Path) -> None:
    donor, target = drawn(tmp_path, seed=1).read_bytes(), drawn(tmp_path, seed=2).read_bytes()
    forged = tmp_path / "forged.png"
    forged.write_bytes(target.replace(chunk(target), chunk(donor)))
    with Image.open(forged) as shown:
        assert shown.convert("RGB").tobytes() == picture(2, 64, 64).tobytes()
    _, link = read_picture(tmp_path, forged)
    assert link.state == "broken"
    assert "changed after it was signed" in link.detail


def test_a_signature_of_somebody_else_is_unknown_until_their_root_is_trusted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drawn(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    _, link = read_picture(tmp_path, file)
    assert link.state == "unknown"
    assert "not trusted here" in link.detail
    monkeypatch.setenv(ROOTS, str(home / "dreamtrace" / "signing" / "root.pem"))
    _, link = read_picture(tmp_path, file)
    assert link.state == "verified"
    monkeypatch.setenv(ROOTS, str(tmp_path / "nowhere.pem"))
    with pytest.raises(SigningError, match=r"nowhere.pem cannot be read"):
        trusted_roots()


def test_a_copy_without_credentials_is_recognised_among_kept_pictures(home: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        picture(seed, 64, 64).save(file := tmp_path / f"kept-{seed}.png")
        remember_picture(tmp_path, picture(seed, 64, 64), {**RECORD, "seed": seed}, file)
    with (tmp_path / INDEX).open("a") as index:
        index.write('{"pixels": "half a li')  # a killed process
    stripped = tmp_path / "stripped.png"
    picture(2, 64, 64).save(stripped)
    record, link = read_picture(tmp_path, stripped)
    assert (record["seed"], link.state) == (2, "unknown")
    assert "exactly the pixels" in link.detail
    again = tmp_path / "again.jpg"
    picture(2, 64, 64).resize((96, 96)).save(again, quality=70)
    record, link = read_picture(tmp_path, again)
    assert (record["seed"], link.state) == (2, "unknown")
    assert "probably a copy" in link.detail
    picture(9, 64, 64).save(stripped)
    with pytest.raises(LineageError, match="no picture that was drawn and kept"):
        read_picture(tmp_path, stripped)


def test_text_in_a_png_proves_nothing(home: Path, tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("dreamtrace", '{"content_digest": "' + "ab" * 32 + '"}')
    picture(5, 64, 64).save(tmp_path / "claims.png", pnginfo=text)
    assert read_credentials(tmp_path / "claims.png") is None
    with pytest.raises(LineageError, match="carries no Content Credentials"):
        read_picture(tmp_path, tmp_path / "claims.png")


def test_the_authority_is_made_once_and_for_its_owner_alone(home: Path) -> None:
    folder = own_authority()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert own_authority() == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert set(before) == {"root.pem", "root.key", "chain.pem", "signer.key"}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_certificates_that_cannot_sign_are_refused_by_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_authority()
    monkeypatch.setenv(CERTIFICATE, str(folder / "chain.pem"))
    with pytest.raises(SigningError, match="set both"):
        signing_identity()
    (tmp_path / "text.pem").write_text("no certificate")
    for certificate, key, message in (
        (folder / "chain.pem", folder / "root.key", "not the private key"),
        (folder / "chain.pem", tmp_path / "text.pem", "not an unencrypted private key"),
        (tmp_path / "text.pem", folder / "signer.key", "holds no certificate"),
        (tmp_path / "gone.pem", folder / "signer.key", "cannot be read"),
    ):
        monkeypatch.setenv(CERTIFICATE, str(certificate))
        monkeypatch.setenv(KEY, str(key))
        with pytest.raises(SigningError, match=message):
            signing_identity()
    monkeypatch.setenv(CERTIFICATE, str(folder / "chain.pem"))
    monkeypatch.setenv(KEY, str(folder / "signer.key"))
    assert signing_identity().algorithm == "es256"


def test_a_file_that_is_no_picture_and_an_ending_that_cannot_be_signed_are_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises((CredentialsError, LineageError), match=r"text\.png"):
        read_picture(tmp_path, tmp_path / "text.png")
    with pytest.raises(CredentialsError, match=r"must end in \.png"):
        picture_format(Path("x.gif"))


def chunk(png: bytes) -> bytes:
    """The chunk that holds the credentials of a PNG."""
    at = png.index(b"caBX") - 4
    return png[at : at + 12 + int.from_bytes(png[at : at + 4], "big")]
