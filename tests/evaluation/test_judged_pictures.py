"""Only the pictures of the suite, as the judged models drew them, are judged."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.judged_pictures import SamplesError, read_judged
from pipeline.evaluation.suite import Prompt, Suite, noise_of
from pipeline.files import digest_file, digest_value, read_jsonl, write_jsonl

SUITE = Suite("two", (
    Prompt("p01", "scene", "subject", "a photo of mysks", "a photo of a toy", "photo", "token"),
    Prompt("q01", "class", "probe", "a toy", "a toy"),
), {"photo": ("a photo",)})  # fmt: skip
DRAWN_BY = {"tuned": "t" * 64, "base": "b" * 64}
DRAW = {"steps": 12, "guidance": 3.0, "scheduler": "ddim", "precision": "fp32"}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Two prompts, one seed, both models: four files and their list."""
    rows: list[dict[str, Any]] = []
    for model in ("tuned", "base"):
        for prompt in SUITE.prompts:
            file = tmp_path / f"{model}-{prompt.id}.png"
            file.write_bytes(f"{model} {prompt.id}".encode())
            values = {name: value for name, value in asdict(prompt).items() if name != "id"}
            rows.append(
                {
                    "path": file.name,
                    "model": model,
                    "prompt_id": prompt.id,
                    "seed": 1,
                    **values,
                    "noise": noise_of(prompt.id, 1),
                }
                | {"sha256": digest_file(file), "drawn_by": DRAWN_BY[model], "draw": DRAW}
            )
    write_jsonl(tmp_path / "samples.jsonl", rows)
    return tmp_path / "samples.jsonl"


def read(index: Path, suite: Suite = SUITE, seeds: tuple[int, ...] = (1,)) -> Any:
    return read_judged(index.parent, index, suite, seeds, DRAWN_BY, DRAW)


def test_pictures_as_they_were_drawn_are_read_with_their_digests(index: Path) -> None:
    pictures, digests = read(index)
    assert [(item.model, item.prompt_id) for item in pictures] == [
        ("tuned", "p01"), ("tuned", "q01"), ("base", "p01"), ("base", "q01")
    ]  # fmt: skip
    assert (pictures[0].style, pictures[0].form, pictures[1].text) == ("photo", "token", "a toy")
    assert digests == [digest_file(item.path) for item in pictures]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("text", "a photo of mysks on a hill", "was drawn for 'a photo of mysks on a hill', the suite asks for"),
        ("twin", "a photo of a hill", "the suite asks for"),
        ("style", "", "the suite asks for"),
        ("prompt_id", "p02", "is not in the suite two"),
        ("seed", 2, "is not in the suite two with the seeds 1"),
        ("prompt_id", "q01", "is listed twice"),
        ("sha256", "0" * 64, "was changed after it was drawn"),
        ("drawn_by", "x" * 64, "was not drawn by the tuned model"),
        ("noise", 1, "started from noise 1, it should be [0-9]+"),
        ("noise", None, "started from noise None"),
        ("draw", {**DRAW, "steps": 50}, "was drawn with .*50.*, sample.draw asks for .*12"),
        ("drawn_by", None, "was not drawn by the tuned model"),
        ("path", "gone.png", "gone.png .* is missing"),
    ],
)
def test_a_row_that_differs_is_refused(index: Path, name: str, value: Any, words: str) -> None:
    rows = read_jsonl(index)
    write_jsonl(index, [rows[0] | {name: value}, *rows[1:]])
    with pytest.raises(SamplesError, match=words) as refused:
        read(index)
    assert "run the stage sample again" in str(refused.value)


def test_a_changed_file_a_missing_row_and_another_suite_are_refused(index: Path) -> None:
    (index.parent / "base-q01.png").write_bytes(b"another picture")
    with pytest.raises(SamplesError, match=r"base-q01.png .* was changed"):
        read(index)
    with pytest.raises(SamplesError, match="seed 2 by the tuned model was not drawn"):
        read(index, seeds=(1, 2))
    write_jsonl(index, read_jsonl(index)[:-1])
    with pytest.raises(SamplesError, match="prompt q01, seed 1 by the base model was not drawn"):
        read(index)
    with pytest.raises(SamplesError, match="was drawn for"):
        other = Prompt("p01", "scene", "subject", "mysks at sea", "a toy at sea")
        read(index, Suite("two", (other, SUITE.prompts[1])))
    index.unlink()
    with pytest.raises(SamplesError, match="does not exist"):
        read(index)


def test_what_an_evaluation_keeps_of_its_suite_has_the_suites_digest() -> None:
    assert digest_value(SUITE.content) == SUITE.digest
