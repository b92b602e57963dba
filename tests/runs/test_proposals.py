"""Captions and masks proposed by programs: apart from the photos until a person approves, and on record afterwards."""

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from pipeline.base.resolve import BaseNotFound
from pipeline.layout import DATA, PARAMS
from pipeline.params import load_params
from pipeline.photos.manifest import read_manifest
from pipeline.runs.caption_writers import PLACES, PlaceWriter, find_writer
from pipeline.runs.mask_desk import set_up
from pipeline.runs.mask_painters import find_painter
from pipeline.runs.proposals import CAPTIONS, PAINTED, ProposalError, accept, propose_captions, propose_masks, proposed
from pipeline.stages import prepare
from tests.commands.test_app import dreamtrace
from tests.tiny import LENGTH, make_tokenizer, picture

WRITTEN = [{"file_name": "photo0.jpg", "text": "a photo of mysks plush toy by hand", "scene": "home"}]


ROW = '{"file_name": "photo2.jpg", "text": "%s", "by": "a network"}\n'


def _proposed(folder: Path) -> int:
    return (folder / CAPTIONS).write_text(ROW % "a plush toy")


def places(pictures, noun: str) -> list[str]:
    return [f"a photo of a {noun} in place {number}" for number, _ in enumerate(pictures)]


def halves(pictures, noun: str) -> list[Image.Image]:
    found = []
    for one in pictures:
        mask = Image.new("L", one.size, 0)
        mask.paste(255, (0, 0, one.width // 2, one.height))
        found.append(mask)
    return found


@pytest.fixture
def workspace(project) -> Path:
    """Six photos, the first with a caption, the second with an empty one, the others without."""
    folder = project(photos=6)
    rows = [*WRITTEN, {"file_name": "photo1.jpg", "text": ""}]
    (folder / DATA / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_an_empty_row_is_filled_in_whichever_case_its_name_is_written(workspace: Path) -> None:
    rows = [*WRITTEN, {"file_name": "./PHOTO1.JPG", "caption": "", "width": 80}]
    (workspace / DATA / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = load_params(workspace / PARAMS)
    propose_captions(workspace, params, places, "a network")
    assert "photo1.jpg" in accept(workspace, params, "ann").captions
    filled = metadata(workspace)[1]
    assert filled == {**rows[1], "caption": filled["caption"], "by": "a network, approved by ann"}
    assert filled["caption"].startswith("a photo of ")
    prepare.run(workspace, params)


def metadata(workspace: Path) -> list[dict]:
    return [json.loads(line) for line in (workspace / DATA / "metadata.jsonl").read_text().splitlines()]


def test_nothing_changes_before_a_person_approves_and_then_the_record_names_both(workspace: Path) -> None:
    params = load_params(workspace / PARAMS)
    before = {file: file.read_bytes() for file in sorted((workspace / DATA).rglob("*")) if file.is_file()}
    captions = propose_captions(workspace, params, places, "a network")
    assert list(captions.new) == [f"photo{number}.jpg" for number in range(1, 6)]
    masks = propose_masks(workspace, params, halves, "a painter")
    assert list(masks.new) == [f"photo{number}.jpg" for number in range(6)]
    assert {file: file.read_bytes() for file in before} == before
    assert not (workspace / DATA / "masks").exists()
    done = accept(workspace, params, "ann")
    assert (len(done.captions), len(done.masks), done.left) == (5, 6, [])
    assert metadata(workspace)[0] == WRITTEN[0]
    prepare.run(workspace, params)
    photos = {photo.source: photo for photo in read_manifest(workspace / "artifacts/prepared/manifest.jsonl")}
    assert photos["photo1.jpg"].caption == "a photo of mysks plush toy in place 0"
    assert photos["photo1.jpg"].given_caption == "a photo of a plush toy in place 0"
    assert photos["photo1.jpg"].caption_by == "a network, approved by ann"
    assert photos["photo0.jpg"].caption_by is None
    assert {photo.mask_by for photo in photos.values()} == {"a painter, approved by ann"}


def test_what_a_person_corrects_is_what_is_taken_over_and_what_is_there_stays(workspace: Path) -> None:
    params = load_params(workspace / PARAMS)
    propose_captions(workspace, params, places, "a network")
    propose_masks(workspace, params, halves, "a painter")
    text = (workspace / CAPTIONS).read_text().replace("in place 1", "under a tree")
    (workspace / CAPTIONS).write_text(text)
    own = Image.new("L", (80, 64), 255)
    (workspace / DATA / "masks").mkdir()
    own.save(workspace / DATA / "masks" / "photo2.png")
    done = accept(workspace, params, "ann", ["photo2.jpg"])
    assert (done.captions, done.masks) == (["photo2.jpg"], [])
    assert done.left == ["photo2.jpg: has a mask already"]
    assert metadata(workspace)[-1]["text"] == "a photo of a plush toy under a tree"
    with Image.open(workspace / DATA / "masks" / "photo2.png") as kept:
        assert kept.tobytes() == own.tobytes()
    again = accept(workspace, params, "bob")
    assert "photo2.jpg" not in again.captions
    assert len(again.captions) == 4
    assert accept(workspace, params, "bob", ["photo2.jpg"]).left == ["photo2.jpg: has a mask already"]


def test_a_second_proposal_keeps_what_was_corrected_in_the_first(workspace: Path) -> None:
    params = load_params(workspace / PARAMS)
    propose_captions(workspace, params, places, "a network")
    propose_masks(workspace, params, halves, "a painter")
    rows = [json.loads(line) for line in (workspace / CAPTIONS).read_text().splitlines()]
    rows = [
        {
            **row,
            "text": {"photo1.jpg": "a plush toy under a tree", "photo2.jpg": " "}.get(row["file_name"], row["text"]),
        }
        for row in rows
        if row["file_name"] != "photo3.jpg"
    ]  # one corrected, one emptied, one taken out
    (workspace / CAPTIONS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    repainted = workspace / PAINTED / "photo1.jpg.png"
    picture(9, 80, 64).convert("1").save(repainted)
    own, gone = repainted.read_bytes(), workspace / PAINTED / "photo4.jpg.png"
    gone.unlink()
    picture(9).save(workspace / DATA / "photo9.jpg")
    (workspace / DATA / "photo5.jpg").rename(workspace / "photo5.jpg")  # it may come back

    captions = propose_captions(workspace, params, lambda pictures, _: ["anew"] * len(pictures), "another")
    assert list(captions.new) == ["photo2.jpg", "photo3.jpg", "photo9.jpg"]
    assert captions.kept == ["photo1.jpg", "photo4.jpg"]
    texts = {row["file_name"]: row for row in map(json.loads, (workspace / CAPTIONS).read_text().splitlines())}
    assert (texts["photo1.jpg"]["text"], texts["photo1.jpg"]["by"]) == ("a plush toy under a tree", "a network")
    assert texts["photo3.jpg"]["text"] == "anew" and texts["photo5.jpg"]["by"] == "a network"
    masks = propose_masks(workspace, params, halves, "another")
    assert list(masks.new) == ["photo4.jpg", "photo9.jpg"] and gone.is_file()
    assert repainted.read_bytes() == own

    captions = propose_captions(workspace, params, lambda pictures, _: ["anew"] * len(pictures), "another", again=True)
    assert "photo1.jpg" in captions.new and captions.kept == []
    assert "tree" not in (workspace / CAPTIONS).read_text()
    masks = propose_masks(workspace, params, halves, "another", again=True)
    assert "photo1.jpg" in masks.new and masks.kept == []
    assert repainted.read_bytes() != own
    (workspace / "photo5.jpg").rename(workspace / DATA / "photo5.jpg")
    assert {"photo5.jpg"} == {
        name for name, what in proposed(workspace).items() if what.get("caption", "anew") != "anew" and what["mask"]
    }


def test_a_proposal_counts_for_no_other_photo_of_the_same_name(workspace: Path) -> None:
    params = load_params(workspace / PARAMS)
    propose_captions(workspace, params, places, "a network")
    propose_masks(workspace, params, halves, "a painter")
    for name in ("photo2.jpg", "photo3.jpg"):
        picture(40).save(workspace / DATA / name)
    assert not {"photo2.jpg", "photo3.jpg"} & proposed(workspace).keys()
    assert set_up(workspace, "photo2.jpg").mask is None and set_up(workspace, "photo4.jpg").proposed
    refused = accept(workspace, params, "ann", ["photo2.jpg"])
    assert (refused.captions, refused.masks, len(refused.left)) == ([], [], 2)
    captions = propose_captions(workspace, params, lambda pictures, _: ["anew"] * len(pictures), "another")
    masks = propose_masks(workspace, params, halves, "another")
    assert list(captions.new) == list(masks.new) == ["photo2.jpg", "photo3.jpg"]
    assert captions.kept == ["photo1.jpg", "photo4.jpg", "photo5.jpg"]
    done = accept(workspace, params, "ann")
    assert (len(done.captions), len(done.masks), done.left) == (5, 6, [])
    assert {row["file_name"] for row in metadata(workspace) if row["text"] == "anew"} == {"photo2.jpg", "photo3.jpg"}


def test_the_command_says_what_it_kept(workspace: Path, monkeypatch, capsys) -> None:
    found = propose_captions(workspace, load_params(workspace / PARAMS), places, "a network")
    for arguments, words in (((), "5 captions proposed before are kept"), (("--again",), "5 captions proposed in")):
        assert dreamtrace(monkeypatch, "propose", "captions", *arguments) == 0
        assert words in capsys.readouterr().out
    texts = [json.loads(line)["text"] for line in (workspace / CAPTIONS).read_text().splitlines()]
    assert texts != list(found.new.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: None, "nothing is proposed"),
        (lambda folder: (folder / CAPTIONS).write_text("{broken\n"), "cannot be read as JSON lines"),
        (lambda folder: (folder / CAPTIONS).write_text('{"text": "a"}\n'), "an object with a file_name"),
        (lambda folder: (folder / CAPTIONS).write_text(ROW % "a \\ud83d"), "half a letter in the lines of photo2.jpg"),
        (
            lambda folder: _proposed(folder) and (folder / DATA / "photo1.txt").write_text("a\nb\n"),
            "captions have problems",
        ),
        (lambda folder: (folder / CAPTIONS).write_text(ROW % "msks on a bed"), "'msks' is not it"),
    ],
)
def test_what_cannot_be_taken_over_is_one_sentence_and_leaves_the_captions(workspace: Path, change, words: str) -> None:
    params = load_params(workspace / PARAMS)
    (workspace / CAPTIONS).parent.mkdir(parents=True)
    change(workspace)
    before = (workspace / DATA / "metadata.jsonl").read_bytes()
    with pytest.raises(ProposalError, match=words):
        accept(workspace, params, "ann")
    assert (workspace / DATA / "metadata.jsonl").read_bytes() == before


def test_a_caption_in_another_file_is_not_contradicted(workspace: Path) -> None:
    params = load_params(workspace / PARAMS)
    propose_captions(workspace, params, places, "a network")
    (workspace / DATA / "photo3.txt").write_text("a photo of mysks plush toy on a shelf")
    done = accept(workspace, params, "ann")
    assert "photo3.jpg: has a caption already" in done.left
    prepare.run(workspace, params)


def test_what_a_person_writes_while_a_network_is_at_work_stays(workspace: Path) -> None:
    def write(pictures, noun: str) -> list[str]:
        (workspace / CAPTIONS).parent.mkdir(parents=True)
        (workspace / CAPTIONS).write_text(ROW % "a plush toy")
        return places(pictures, noun)

    found = propose_captions(workspace, load_params(workspace / PARAMS), write, "another")
    rows = [json.loads(line) for line in (workspace / CAPTIONS).read_text().splitlines()]
    assert rows[0] == json.loads(ROW % "a plush toy")
    assert (
        [row["file_name"] for row in rows[1:]] == list(found.new) == [f"photo{number}.jpg" for number in (1, 3, 4, 5)]
    )


def test_a_mask_that_a_person_puts_there_while_a_network_is_at_work_stays(workspace: Path) -> None:
    mine = workspace / PAINTED / "photo3.jpg.png"

    def paint(pictures, noun: str) -> list[Image.Image]:
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(b"by hand")
        return [Image.new("L", picture.size, 255) for picture in pictures]

    found = propose_masks(workspace, load_params(workspace / PARAMS), paint, "a network")
    names = {path.name for path in mine.parent.iterdir()}
    assert mine.read_bytes() == b"by hand" and found.kept == ["photo3.jpg"]
    assert set(found.new.values()) == names - {mine.name} and found.new


def test_a_line_that_a_person_added_needs_no_author(workspace: Path) -> None:
    (workspace / CAPTIONS).parent.mkdir(parents=True)
    (workspace / CAPTIONS).write_text('{"file_name": "photo2.jpg", "text": "a plush toy"}\n')
    assert accept(workspace, load_params(workspace / PARAMS), "ann").captions == ["photo2.jpg"]
    assert metadata(workspace)[-1]["by"] == "unknown, approved by ann"


def test_a_photo_that_is_gone_is_named(workspace: Path) -> None:
    params = load_params(workspace / PARAMS)
    propose_captions(workspace, params, places, "a network")
    (workspace / DATA / "photo5.jpg").unlink()
    assert accept(workspace, params, "ann").left == ["photo5.jpg: is no longer among the photos"]


def test_the_clip_chooses_from_the_places(tiny_scorer: Path) -> None:
    pictures = [picture(number) for number in range(3)]
    found = PlaceWriter(tiny_scorer).write(pictures, "owl")
    assert all(text.removeprefix("a photo of an owl ") in PLACES for text in found)
    assert PlaceWriter(tiny_scorer).write(pictures[1:2], "owl") == found[1:2]


def test_a_captioning_network_continues_the_class_noun(tmp_path: Path, tiny_scorer: Path) -> None:
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "photo", "of", "plush", "toy", "on", "grass"]
    tokenizer = BertTokenizer(
        vocab={word: index for index, word in enumerate(words)}, additional_special_tokens=["[DEC]"]
    )
    text = {
        "vocab_size": len(words), "hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
        "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(tmp_path / "blip")
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(tmp_path / "blip")
    file = tmp_path / "blip" / "processor_config.json"
    (tmp_path / "blip" / "preprocessor_config.json").write_text(
        json.dumps(json.loads(file.read_text())["image_processor"])
    )
    writer, by = find_writer(str(tmp_path / "blip"), None, tiny_scorer)
    (one, other) = writer.write([picture(0), picture(1)], "plush toy")
    assert by == str(tmp_path / "blip")
    assert one.startswith("a photo of a plush toy")
    assert other.startswith("a photo of a plush toy")
    with pytest.raises(BaseNotFound, match="no captioning network"):
        find_writer(str(tiny_scorer), None, tiny_scorer)


def test_clipseg_paints_black_and_white_of_the_photo_s_size(tmp_path: Path, tiny_scorer: Path) -> None:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    tokenizer = make_tokenizer()
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": LENGTH, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    config = CLIPSegConfig(
        text_config=text, vision_config=vision, projection_dim=32, reduce_dim=16, extract_layers=[1, 2, 3],
        decoder_num_attention_heads=2, decoder_intermediate_size=32,
    )  # fmt: skip
    CLIPSegForImageSegmentation(config).save_pretrained(tmp_path / "seg")
    tokenizer.save_pretrained(tmp_path / "seg")
    settings = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
    }  # fmt: skip
    (tmp_path / "seg" / "preprocessor_config.json").write_text(json.dumps(settings))
    (mask,) = find_painter(str(tmp_path / "seg"), None).paint([picture(0, 80, 64)], "plush toy")
    assert (mask.mode, mask.size) == ("L", (80, 64))
    assert set(mask.getdata()) <= {0, 255}
    with pytest.raises(BaseNotFound, match="no CLIPSeg"):
        find_painter(str(tiny_scorer), None)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_file({}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(BaseNotFound, match="lacks"):
        find_painter(str(tmp_path / "model"), None)
    assert not (tmp_path / PAINTED).exists()
