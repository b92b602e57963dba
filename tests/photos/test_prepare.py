import json
from pathlib import Path

import pytest
from PIL import Image

from pipeline.params import Prepare, Subject
from pipeline.photos.manifest import Photo, read_manifest
from pipeline.photos.prepare import PhotosError, prepare_photos
from tests.tiny import make_photos, picture

SUBJECT = Subject(name="mysks", token="mysks", class_noun="plush toy")
CAPTION = "a photo of mysks plush toy"


def settings(**changes) -> Prepare:
    plain = {"size": 32, "crop": "center", "heldout": 1, "max_pixels": 10_000, "min_side": 32, "seed": 1}
    return Prepare.model_validate({**plain, **changes})


def prepare(data: Path, **changes) -> list[Photo]:
    return prepare_photos(data, data.parent / "prepared", settings(**changes), SUBJECT, 32)


def refused(data: Path, **changes) -> str:
    with pytest.raises(PhotosError) as caught:
        prepare(data, **changes)
    return str(caught.value)


def caption(data: Path, name: str, text: str = CAPTION, **more: str) -> None:
    with (data / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": name, "text": text, **more}) + "\n")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "data", 5)


def test_photos_become_squares_with_a_manifest(data: Path) -> None:
    photos = prepare(data)
    out = data.parent / "prepared"
    assert read_manifest(out / "manifest.jsonl") == photos
    assert [photo.source for photo in photos] == [f"photo{index}.jpg" for index in range(5)]
    for photo in photos:
        with Image.open(out / photo.file) as made:
            assert (made.size, made.mode, made.info) == ((32, 32), "RGB", {})
    assert sum(photo.split == "heldout" for photo in photos) == 1


def test_the_same_photos_give_the_same_bytes(data: Path) -> None:
    prepare(data)
    out = data.parent / "prepared"
    first = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    prepare(data)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_what_phones_make_is_read(data: Path, kind: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture(9).save(data / "extra.bin", format=kind)
    (data / "extra.bin").rename(data / f"extra.{kind.lower()}")
    caption(data, f"extra.{kind.lower()}")
    assert len(prepare(data)) == 6


def test_exif_orientation_is_applied_and_metadata_stripped(data: Path) -> None:
    upright = Image.new("RGB", (64, 64), "white")
    upright.paste("red", (0, 0, 64, 16))  # red on top
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    exif[0x010F] = "a camera"
    upright.rotate(90, expand=True).save(data / "turned.jpg", exif=exif, quality=95)
    caption(data, "turned.jpg")
    (photo,) = [photo for photo in prepare(data) if photo.source == "turned.jpg"]
    with Image.open(data.parent / "prepared" / photo.file) as made:
        red, _, blue = made.getpixel((16, 2))
        assert red > 200 and blue < 90
        assert min(made.getpixel((16, 28))) > 200
        assert "exif" not in made.info


def test_every_problem_is_named_at_once(data: Path) -> None:
    picture(20).save(data / "cut.jpg", quality=95)
    whole = (data / "cut.jpg").read_bytes()
    (data / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "notes.pdf").write_bytes(b"%PDF-1.4 not a picture")
    picture(21, 200, 60).save(data / "huge.png")
    picture(22, 64, 16).save(data / "small.png")
    picture(23).save(data / "anim.gif")
    (data / "copy.jpg").write_bytes((data / "photo0.jpg").read_bytes())
    picture(25).save(data / "other.png")
    for name in ("cut.jpg", "notes.pdf", "huge.png", "small.png", "anim.gif", "copy.jpg"):
        caption(data, name)
    caption(data, "other.png", "a photo of a mysksy plush toy")
    caption(data, "gone.png")
    message = refused(data)
    assert "cut.jpg: is damaged or cut off" in message
    assert "notes.pdf: is not a picture" in message
    assert "huge.png: is 200x60, more than the limit" in message
    assert "small.png: is 64x16; the shorter side" in message
    assert "anim.gif: is GIF" in message
    assert "shows the same pixels as" in message
    assert "other.png: its caption lacks the token 'mysks', and 'mysksy' is not it" in message
    assert "gone.png" in message
    assert "8 problems" in message
    assert not (data.parent / "prepared").exists()


def test_captions_may_lie_beside_the_photos(data: Path) -> None:
    (data / "metadata.jsonl").unlink()
    for index in range(5):
        (data / f"photo{index}.txt").write_text(f"{CAPTION} number {index}\n")
    assert [photo.caption for photo in prepare(data)] == [f"{CAPTION} number {index}" for index in range(5)]


def test_part_of_a_word_is_not_the_token(data: Path) -> None:
    picture(31).save(data / "new.jpg")
    caption(data, "new.jpg", "a photo of mysksy plush toy")
    assert "lacks the token" in refused(data)


@pytest.mark.parametrize("name", ["../photo0.jpg", "/etc/passwd", ".."])
def test_metadata_cannot_point_outside(data: Path, name: str) -> None:
    caption(data, name)
    assert "must be the name of a file in the same folder" in refused(data)


def test_scenes_are_held_out_whole(tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", 7)
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    scenes = ["park", "park", "park", "desk", "desk", "sofa", "hall"]
    rows = [{**row, "scene": scene} for row, scene in zip(rows, scenes, strict=True)]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed in range(6):
        photos = prepare(data, heldout=3, seed=seed)
        held = {photo.scene for photo in photos if photo.split == "heldout"}
        assert sum(photo.split == "heldout" for photo in photos) == 3
        assert held.isdisjoint({photo.scene for photo in photos if photo.split == "train"})


def test_holding_out_too_much_is_refused_with_what_to_set(data: Path) -> None:
    assert "cannot hold out 6 of 5 photos" in refused(data, heldout=6)
    for wanted in (2, 5):
        assert f"with {wanted} held out leave {5 - wanted} to train on" in (message := refused(data, heldout=wanted))
        assert "set prepare.heldout to 1 or less" in message
    assert len(prepare(data, heldout=0)) == 5


def test_where_none_is_held_out_the_photos_that_always_are_get_a_note(data: Path, capsys) -> None:
    photos = prepare(data, heldout=0, always_heldout=["photo1.jpg"])
    assert [photo.split for photo in photos] == ["train"] * 5
    assert "always_heldout names photos, but prepare.heldout is 0: none is held out" in capsys.readouterr().out
    photos = prepare(data, heldout=1, always_heldout=["photo1.jpg", "gone.jpg"])
    assert [photo.source for photo in photos if photo.split == "heldout"] == ["photo1.jpg"]
    said = capsys.readouterr().out
    assert "always_heldout names gone.jpg, which is not" in said and "none is held out" not in said


def test_near_copies_never_stand_on_both_sides(data: Path) -> None:
    with Image.open(data / "photo0.jpg") as photo:
        photo.resize((72, 58)).save(data / "again.jpg", quality=80)
    caption(data, "again.jpg")
    for seed in range(8):
        photos = {photo.source: photo for photo in prepare(data, seed=seed)}
        assert photos["again.jpg"].split == photos["photo0.jpg"].split
        assert photos["again.jpg"].scene == photos["photo0.jpg"].scene


def test_near_copies_named_as_different_scenes_keep_them_with_a_note(data: Path, capsys) -> None:
    with Image.open(data / "photo0.jpg") as photo:
        photo.resize((72, 58)).save(data / "again.jpg", quality=80)
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    rows = [{**row, "scene": row["file_name"]} for row in rows]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    caption(data, "again.jpg", scene="elsewhere")
    scenes = {photo.source: photo.scene for photo in prepare(data)}
    assert (scenes["photo0.jpg"], scenes["again.jpg"]) == ("photo0.jpg", "elsewhere")
    said = "photo0.jpg: looks nearly like again.jpg, but their scenes differ ('photo0.jpg', 'elsewhere')"
    assert said in capsys.readouterr().out


def test_a_conflict_of_the_split_is_named_beside_the_other_problems(data: Path) -> None:
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    rows = [{"scene": "home", **row} for row in rows]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "masks").mkdir()
    (data / "masks" / "photo0.png").write_bytes(b"x")
    message = refused(data, heldout=3)
    assert "has 2 problems" in message and "masks/photo0.png: " in message
    assert "cannot hold out 3 of 5 photos by whole scenes (home: 5)" in message


def test_what_was_prepared_before_survives_a_refusal(data: Path) -> None:
    prepare(data)
    before = (data.parent / "prepared" / "manifest.jsonl").read_bytes()
    (data / "junk.bin").write_bytes(b"junk")
    refused(data)
    assert (data.parent / "prepared" / "manifest.jsonl").read_bytes() == before


def test_hidden_files_and_clutter_are_passed_over(data: Path) -> None:
    (data / ".DS_Store").write_bytes(b"x")
    (data / "Thumbs.db").write_bytes(b"x")
    (data / ".ipynb_checkpoints").mkdir()
    assert len(prepare(data)) == 5


def test_no_folder_says_how_to_get_one(tmp_path: Path) -> None:
    assert "dvc pull" in refused(tmp_path / "nowhere")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(data: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(data / "bomb.png")
    caption(data, "bomb.png")
    assert "bomb.png: " in (message := refused(data))
    assert "more" in message and "prepare.max_pixels" in message


def test_pictures_with_the_same_stem_do_not_overwrite_each_other(data: Path) -> None:
    picture(40).save(data / "photo0.png")
    caption(data, "photo0.png")
    files = [photo.file for photo in prepare(data)]
    assert len(set(files)) == 6
