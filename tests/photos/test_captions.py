"""Captions in the files, encodings and spellings that people bring: taken as they were meant, or refused by name."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.photos.captions import Caption, has_word, near_token, other_token, read_captions, spell_token
from pipeline.photos.file_kinds import sort_files
from pipeline.photos.manifest import Photo, read_manifest
from tests.photos.test_prepare import caption, prepare, refused
from tests.tiny import make_photos, picture

TEXT = "a photo of mysks plush toy"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "data", 5)


@pytest.fixture
def bare(data: Path) -> Path:
    """Photos without captions but for four text files; photo0 has none."""
    (data / "metadata.jsonl").unlink()
    for index in range(1, 5):
        (data / f"photo{index}.txt").write_text(f"{TEXT} {index}")
    return data


def of(photos: list[Photo], name: str = "photo0.jpg") -> str:
    return next(photo.caption for photo in photos if photo.source == name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("photo0.txt", f"\ufeff{TEXT} é\r\n".encode()),
        ("photo0.txt", f"\ufeff{TEXT} é\n".encode("utf-16-le")),
        ("photo0.txt", f"\ufeff{TEXT} é\n".encode("utf-16-be")),
        ("photo0.txt", f"\ufeff{TEXT} é\n".encode("utf-32-le")),
        ("photo0.txt", f"{TEXT} é\r".encode()),
        ("photo0.txt", f"{TEXT} e\u0301\n\n".encode()),
        ("photo0.txt", f"\u200b{TEXT}\u2060 é".encode()),
        ("photo0.txt", f"\u200e{TEXT}\u202b\u2066 é\u2069\u202c".encode()),  # marks of the direction of writing
        ("photo0.txt", f"{TEXT} é".replace(" ", "\u00a0").encode()),
        ("photo0.txt", f"{TEXT} é".replace(" ", "\u3000").encode()),
        ("photo0.Caption", f"{TEXT} é".encode("utf-16")),
        ("PHOTO0.TXT", f"{TEXT} é".encode()),
        ("photo0.jpg.txt", f"{TEXT} é".encode()),
        ("photo0.caption", f"{TEXT} é".encode()),
    ],
)  # fmt: skip
def test_a_text_file_beside_a_photo_is_read_as_it_was_meant(bare: Path, name: str, content: bytes) -> None:
    (bare / name).write_bytes(content)
    assert of(prepare(bare)) == f"{TEXT} é"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{TEXT} é".encode("latin-1"), "photo0.txt, line 1: is not UTF-8 (byte 0xe9); save the file as UTF-8"),
        (f"{TEXT} \u2019s".encode("cp1252"), "photo0.txt, line 1: is not UTF-8 (byte 0x92)"),
        (TEXT.encode("utf-16-le"), "photo0.txt, line 1: holds a zero byte, as UTF-16 without a byte order mark does"),
        (b"{\\rtf1\\ansi mysks}", "photo0.txt: is RTF; save it as plain text"),
        (f"{TEXT}\x1b[0m".encode(), "photo0.txt: holds the control character U+001B"),
        (f"{TEXT} caf\ufffd".encode(), "photo0.txt: holds U+FFFD"),
        (f"{TEXT}\n{TEXT} again\n".encode(), "photo0.txt: holds 2 lines; write the caption as one line"),
        (b"\xff\xfe\x00", "photo0.txt: is not UTF-16-LE"),
    ],
)
def test_a_damaged_text_file_is_named_once(bare: Path, content: bytes, said: str) -> None:
    (bare / "photo0.txt").write_bytes(content)
    message = refused(bare)
    assert said in message
    assert "has 1 problem" in message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("my bear", f"{TEXT}, my bear"),
        ("my plush toy on a sofa", "mysks plush toy on a sofa"),
        ("a photo of a Plush Toy and a plush toy", "a photo of mysks plush toy and a plush toy"),
        ("a brown plush toy", "a brown mysks plush toy"),
        ("two plush toys", f"{TEXT}, two plush toys"),
        ("", TEXT),
        (None, TEXT),
    ],
)
def test_a_caption_without_the_token_gets_it_by_rule_and_both_are_kept(bare: Path, capsys, written, read) -> None:
    if written is not None:
        (bare / "photo0.txt").write_text(written)
    photos = prepare(bare)
    assert of(photos) == read
    assert [photo.given_caption for photo in photos] == [written or "", None, None, None, None]
    assert read in capsys.readouterr().out  # nothing is changed without a word
    assert read_manifest(bare.parent / "prepared" / "manifest.jsonl") == photos


def test_an_empty_caption_says_nothing_where_another_file_has_one(data: Path) -> None:
    (data / "photo0.txt").write_text("")
    assert of(prepare(data)) == rows_of(data)[0]["text"]


@pytest.mark.parametrize("row", [{}, {"text": None}, {"scene": "kitchen"}, {"scene": "kitchen", "text": ""}])
def test_a_row_may_say_no_more_than_the_scene(data: Path, row: dict[str, object]) -> None:
    rows = [{"file_name": "photo0.jpg", **row}, *rows_of(data)[1:]]
    (data / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert of(prepare(data)) == TEXT


def test_captions_with_the_token_of_another_subject_are_refused(data: Path) -> None:
    rows = [{**row, "text": f"a photo of grslt plush toy {index}"} for index, row in enumerate(rows_of(data))]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = sort_files([row["file_name"] for row in rows] + ["metadata.jsonl"])
    captions = read_captions(kinds, lambda name: (data / name).read_bytes(), "mysks", "plush toy")
    assert "set subject.token to grslt" in refused(data)
    for word, own, problem in (("my", "mysks", False), ("grslt", "gtwlb", False), ("mysks", "gtwlb", True)):
        texts = {name: Caption("used", given=f"a photo of {word} plush toy on a {name}") for name in captions.found}
        assert bool(other_token(replace(captions, found=texts), own, "plush toy")) == problem, word
    one = {**captions.found, "photo0.jpg": Caption("mysks plush toy")}
    assert other_token(replace(captions, found=one), "mysks", "plush toy") is None  # one of them has the token


@pytest.mark.parametrize("encode", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_metadata_in_any_marked_encoding_and_line_end(data: Path, encode: str, end: str) -> None:
    text = (data / "metadata.jsonl").read_text().replace(", 0", ", é")
    (data / "metadata.jsonl").write_bytes(text.replace("\n", end).encode(encode))
    assert of(prepare(data)) == f"{TEXT}, é"


def test_metadata_in_another_encoding_is_named_by_line_and_nothing_else_is(data: Path) -> None:
    text = (data / "metadata.jsonl").read_text().replace(", 2", ", é")
    (data / "metadata.jsonl").write_bytes(text.encode("latin-1"))
    message = refused(data)
    assert "has 1 problem" in message
    assert "metadata.jsonl, line 3: is not UTF-8 (byte 0xe9)" in message


def rows_of(data: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"image": "photo0.jpg", "caption": TEXT}, TEXT),
        ({"filename": "photo0.jpg", "prompt": TEXT}, TEXT),
        ({"file_name": "./photo0.jpg", "tags": ["mysks", "plush toy"]}, "mysks, plush toy"),
        ({"file_name": "PHOTO0.JPG", "text": f"{TEXT}\n  in two lines"}, f"{TEXT} in two lines"),
        ({"file_name": "photo0.jpg", "text": TEXT, "caption": "another", "width": 80}, TEXT),
    ],
)
def test_rows_of_other_tools(data: Path, row: dict[str, object], found: str) -> None:
    rows = [row, *rows_of(data)[1:]]
    (data / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert of(prepare(data)) == found
    (data / "metadata.jsonl").write_text(json.dumps(rows, indent=2))
    assert of(prepare(data)) == found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"file_name": "photo0.jpg", "caption": "mysks 1", "tags": "mysks"}', 'caption, tags differ; call the one'),
        ('{"file_name": "photo0.jpg", "text": "mysks", "text": "toy"}', "it has text twice"),
        ('{"file_name": "photo0.jpg", "text": 3}', 'needs "file_name" and "text" as strings'),
        ('{"file_name": "photo0.jpg", "captoin": "mysks"}', 'needs "file_name" and "text" as strings'),
        ('["photo0.jpg", "text"]', 'needs "file_name" and "text"'),
        ("[" * 100_000, "is not JSON"),
        ('{"file_name": "photo0.jpg", "text": ' + "1" * 5000 + "}", "is not JSON"),
        ('{"file_name": "photo0.jpg", "text": "mysks \\ud800"}', "control character U+D800"),
        ('{"file_name": "photo0.jpg", "text": "mysks", "scene": "a\\u0000b"}', "control character U+0000"),
        ("{'file_name': 'photo0.jpg'}", "is not JSON"),
        ('{"file_name": "photo0.jpeg", "text": "mysks"}', "photo0.jpeg, which is not there; did you mean photo0.jpg?"),
        ('{"file_name": "train\\\\photo0.jpg", "text": "mysks"}', "must be the name of a file in the same folder"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named_by_its_line(data: Path, line: str, said: str) -> None:
    lines = (data / "metadata.jsonl").read_text().splitlines()
    (data / "metadata.jsonl").write_text("\n".join([*lines[1:], line]))
    message = refused(data)
    assert "metadata.jsonl, line 5: " in message and said in message


def test_objects_may_take_several_lines(data: Path) -> None:
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    rows[0]["text"] = f"{TEXT} in the snow"
    (data / "metadata.jsonl").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    assert of(prepare(data)) == f"{TEXT} in the snow"


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_in_utf_16_without_a_mark_are_named_as_such(data: Path, name: str) -> None:
    (data / "metadata.jsonl").rename(data / name)
    (data / name).write_bytes((data / name).read_text().encode("utf-16-le"))
    message = refused(data)
    assert f"{name}, line 1: holds a zero byte, as UTF-16 without" in message and "has 1 problem" in message


@pytest.mark.parametrize(
    "content",
    [
        "file_name,text\n{}",
        "\ufefffile_name,text\r\n{}",
        "file_name;text\n{}",
        "sep=;\nfile_name;text\n{}",
        "image\tcaption\n{}",
        "text,file_name,scene\n",
    ],
)
def test_csv_as_spreadsheets_write_it(data: Path, content: str) -> None:
    (data / "metadata.jsonl").unlink()
    delimiter = next(mark for mark in (";", "\t", ",") if mark in content)
    rows = [[f"photo{index}.jpg", f'"mysks, the ""toy""; {index}"'] for index in range(5)]
    if content.startswith("text"):
        rows = [[text, name, ""] for name, text in rows]
    body = "".join(delimiter.join(row) + "\r\n" for row in rows)
    (data / "metadata.csv").write_bytes((content.replace("{}", "") + body).encode())
    assert of(prepare(data)) == 'mysks, the "toy"; 0'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file_name,text\nphoto0.jpg,mysks, a toy\n", "metadata.csv, line 2: has 3 fields, the first line names 2"),
        ("file_name,text,text\nphoto0.jpg,mysks,toy\n", "metadata.csv, line 1: names the column text twice"),
        ("photo0.jpg,mysks\n", "metadata.csv, line 1: must name the columns: file_name, text"),
        ('file_name,text\nphoto0.jpg,"mysks\n', "metadata.csv, line 2: is not CSV"),
        ("file_name,text\nphoto0.jpg," + "x" * 200_000 + "\n", "metadata.csv, line 2: is not CSV (field larger"),
    ],
)
def test_csv_that_cannot_be_used_is_named_by_its_line(bare: Path, content: str, said: str) -> None:
    (bare / "metadata.csv").write_text(content)
    assert said in refused(bare)


def test_kohya_s_metadata_is_read_with_paths_and_without_endings(data: Path) -> None:
    (data / "metadata.jsonl").unlink()
    rows = {f"C:\\train\\10_mysks\\photo{index}": {"caption": TEXT, "train_resolution": [512, 512]} for index in (0, 1)}
    rows |= {f"/home/me/photo{index}.jpg": {"tags": "mysks, toy"} for index in (2, 3, 4)}
    (data / "meta_lat.json").write_text(json.dumps(rows))
    photos = prepare(data)
    assert (of(photos), of(photos, "photo4.jpg")) == (TEXT, "mysks, toy")
    (data / "meta_lat.json").write_text('{"photo0": "a text"}')
    assert "meta_lat.json: must map the name of each photo" in refused(data)


def test_several_captions_of_a_photo_must_agree(data: Path) -> None:
    (data / "photo0.txt").write_text(f"{TEXT}, 0\n")
    assert len(prepare(data)) == 5
    (data / "photo0.caption").write_text("mysks in another place")
    message = refused(data)
    assert "photo0.jpg: has 2 captions that differ" in message
    assert 'metadata.jsonl, line 1: "' in message and 'photo0.caption: "mysks in another place"' in message


def test_a_second_row_of_a_photo_is_refused(data: Path) -> None:
    caption(data, "photo0.jpg")
    assert "metadata.jsonl, line 6: photo0.jpg has a caption already" in refused(data)


def test_composed_and_decomposed_names_are_the_same_name(data: Path) -> None:
    apart = unicodedata.normalize("NFD", "Fotografía.jpg")
    picture(50).save(data / apart)
    caption(data, unicodedata.normalize("NFC", apart))
    picture(51).save(data / unicodedata.normalize("NFC", "niño.jpg"))
    (data / unicodedata.normalize("NFD", "niño.txt")).write_text(TEXT)
    assert len(prepare(data)) == 7


def test_a_name_that_two_photos_differ_in_by_case_alone_must_be_exact(data: Path) -> None:
    picture(50).save(data / "Cat.jpg")
    picture(51).save(data / "cat.jpg")
    caption(data, "Cat.jpg", f"{TEXT} upper")
    caption(data, "cat.jpg", f"{TEXT} lower")
    photos = prepare(data)
    assert (of(photos, "Cat.jpg"), of(photos, "cat.jpg")) == (f"{TEXT} upper", f"{TEXT} lower")
    assert len({photo.file.lower() for photo in photos}) == 7
    caption(data, "CAT.jpg", TEXT)
    assert "CAT.jpg may mean Cat.jpg or cat.jpg" in refused(data)


@pytest.mark.parametrize("written", ["MYSKS", "Mysks", "(mysks:1.2)", "mysks's", "'mysks',", "MYSKS\u2019s", "—mysks—"])
def test_the_token_in_any_spelling_is_the_token(data: Path, written: str) -> None:
    rows = [{**row, "text": f"a photo of {written} plush toy"} for row in rows_of(data)]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "mysks" in of(prepare(data))
    assert has_word(written, "mysks") and "mysks" in spell_token(written, "mysks")


@pytest.mark.parametrize("written", ["mysksy", "mysks_1", "my-mysks", "my\u017fks", "mysks\u0301"])
def test_what_only_looks_like_the_token_is_refused(data: Path, written: str) -> None:
    picture(50).save(data / "new.jpg")
    caption(data, "new.jpg", f"a photo of {written} plush toy")
    assert "new.jpg: its caption lacks the token 'mysks', and" in refused(data)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("mysks", "a row of masks on a table"),
        ("ab", "a cab on a table, about abs"),
        ("sks", "two desks and some risks"),
    ],
)
def test_ordinary_words_are_not_taken_for_the_token(token: str, text: str) -> None:
    assert near_token(text, token) is None


@pytest.mark.parametrize(
    ("token", "word"), [("mysks", "myskss"), ("mysks", "amysksy"), ("mysks", "mysk"), ("ab", "ab_1"), ("sks", "my-sks")]
)
def test_a_word_that_looks_like_the_token_is_found(token: str, word: str) -> None:
    assert near_token(f"a photo of {word} on a table", token) == word


def test_a_text_file_of_no_photo_is_named_and_left_alone(data: Path, capsys) -> None:
    (data / "notes.txt").write_bytes(b"\xff\xff")
    prepare(data)
    assert "notes.txt: belongs to no photo and is not read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "metadata.jsonl",
            r'{"file_name": "\ud83d.jpg", "text": "x"}',
            r"line 1: names \ud83d.jpg, which is not there",
        ),
        ("metadata.jsonl", r'{"file_name": "a/\ud83d.jpg", "text": "x"}', r"file_name 'a/\ud83d.jpg' must be the name"),
        ("metadata.jsonl", r'{"\ud83d": 1, "\ud83d": 2}', r"it has \ud83d twice"),
        ("metadata.jsonl", r'{"file_name": "photo1.jpg", "text": "\ud83d"}', "control character U+D83D"),
        ("metadata.jsonl", r'{"file_name": "photo1.jpg", "text": "x", "scene": "\ud83d"}', "control character U+D83D"),
        ("meta_cap.json", r'{"\ud83d": {"caption": "x"}}', r"names \ud83d, which is not there"),
        ("meta_cap.json", r'{"photo1": {"caption": "\udc80"}}', "control character U+DC80"),
        ("meta_cap.json", r'{"\udc80\ud83d": {"caption": 3}}', r"meta_cap.json, '\udc80\ud83d': needs"),
    ],
)
def test_half_a_letter_in_json_is_shown_as_an_escape(data: Path, file: str, content: str, said: str) -> None:
    (data / "metadata.jsonl").unlink()
    (data / file).write_text(content)
    message = refused(data)
    assert said in message
    message.encode()  # it can be printed
