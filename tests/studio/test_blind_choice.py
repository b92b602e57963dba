"""Blind choice: what is shown, what is kept, and what whoever approves is told."""

import io
import json
import re
from pathlib import Path

from PIL import Image

from pipeline.evaluation.preference import Choice
from pipeline.registry.blind_choices import choices_folder, keep_choice, read_choices, tallies
from pipeline.registry.store import connect
from pipeline.studio.blind_page import pairs_of
from pipeline.studio.version_files import VersionFiles
from tests.studio.browser import Browser

PAIR = re.compile(r'src="(/blind/([^/]+)/(\d+)/(left|right))"')
START = {"name": "Eve", "version": "models:/mysks/1", "against": "base"}


def kept_of(folder: Path, **noises: int) -> VersionFiles:
    """A version with a picture of each of these prompts, drawn from the noise of this seed."""
    for kind in ("base", "tuned"):
        (folder / kind).mkdir(parents=True)
        for prompt in noises:
            (folder / kind / f"{prompt}-1.png").touch()
    rows = [
        {"model": kind, "kind": "subject", "prompt_id": prompt, "seed": 1, "noise": noise}
        for prompt, noise in noises.items()
        for kind in ("base", "tuned")
    ]
    return VersionFiles({"pictures": rows}, dict.fromkeys(noises, "a toy"), folder, [], {}, {}, "")


def pixels(content: bytes) -> bytes:
    return Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def test_the_page_tells_nothing_and_the_record_tells_all(judged: Browser, copy: Path) -> None:
    page = judged.send("/blind/start", START).text
    left, right = [found[0] for found in PAIR.findall(page)]
    key = PAIR.findall(page)[0][1]
    main = page[page.index("<main") :]
    assert "tuned" not in main and "models:/" not in main and "base" not in main
    shown = [judged.client.get(where).content for where in (left, right)]
    assert all(not Image.open(io.BytesIO(content)).info for content in shown)  # a drawn picture names its model

    page = judged.send(f"/blind/{key}", {"at": "0", "chosen": "left"}).text
    judged.send(f"/blind/{key}", {"at": "0", "chosen": "right"})  # sent twice
    (choice,), broken = read_choices(copy, "models:/mysks/1")
    assert broken == 0 and (choice.by, choice.against, choice.chosen) == ("Eve", "base", choice.left)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$", choice.at)
    kinds = {"version": "tuned", "against": "base"}
    report = copy / "reports/report"
    sides = ("version", "against") if choice.left == "version" else ("against", "version")
    for side, content in zip(sides, shown, strict=True):
        file = report / kinds[side] / f"{choice.prompt_id}-{choice.seed}.png"
        assert pixels(file.read_bytes()) == pixels(content)
    assert PAIR.findall(page)[0][2] == "1"


def test_what_was_chosen_is_added_to_and_never_rewritten(judged: Browser, copy: Path) -> None:
    page = judged.send("/blind/start", START).text
    key = PAIR.findall(page)[0][1]
    kept: dict[str, bytes] = {}
    for at, answer in enumerate(("left", "right", "none")):
        judged.send(f"/blind/{key}", {"at": str(at), "chosen": answer})
        client = connect(copy)
        version = client.get_model_version("mysks", "1")
        folder = choices_folder(version.tags["content_digest"])
        root = Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://")) / folder
        now = {path.name: path.read_bytes() for path in root.iterdir()}
        assert kept.items() <= now.items() and len(now) == at + 1
        kept = now
    (root / "x.json").write_text("{}")
    choices, broken = read_choices(copy, "models:/mysks/1")
    assert [choice.chosen == "none" for choice in choices] == [False, False, True] and broken == 1
    page = judged.get("/verdict")
    assert "3 blind choices between it and the base" in page and "Eve (3)" in page


def test_all_pairs_are_answered_once_by_each_person(judged: Browser, copy: Path) -> None:
    evaluation = json.loads((copy / "reports/evaluation.json").read_text())
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    asked = set()
    for _ in range(0, len(rows), 20):
        page = judged.send("/blind/start", START).text
        while found := PAIR.findall(page):
            page = judged.send(f"/blind/{found[0][1]}", {"at": found[0][2], "chosen": "none"}).text
    assert "That was the last pair" in page
    choices, _ = read_choices(copy, "models:/mysks/1")
    asked = {choice.pair for choice in choices}
    assert asked == {(row["prompt_id"], row["seed"]) for row in rows} and len(choices) == len(asked)
    answer = judged.send("/blind/start", {**START, "name": "eve"})
    assert answer.status_code == 400 and f"has answered every pair of these two ({len(rows)})" in answer.text
    assert "Which one would you rather have?" in judged.send("/blind/start", {**START, "name": "Adam"}).text
    (found,) = tallies(copy, "models:/mysks/1")
    assert found.share is None and "as many for either side" in found.sentence


def test_pictures_that_were_drawn_anew_are_asked_about_anew(judged: Browser, copy: Path) -> None:
    evaluation = json.loads((copy / "reports/evaluation.json").read_text())
    rows = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    for number, row in enumerate(rows):
        keep_choice(copy, Choice(at=f"2026-01-01T00:00:{number:02d}.0Z", by="Eve", version="models:/mysks/1",
                                 against="base", prompt_id=row["prompt_id"], prompt="x", seed=row["seed"],
                                 left="version", chosen="version", pictures={"version": "x", "against": "y"},
                                 sitting="s"))  # fmt: skip
    assert "Which one would you rather have?" in judged.send("/blind/start", START).text
    (found,) = tallies(copy, "models:/mysks/1")
    assert (found.older, found.share) == (len(rows), None)


def test_wrong_forms_are_refused(judged: Browser, copy: Path) -> None:
    for wrong in (
        {"name": ""},
        {"name": "x" * 101},
        {"version": "models:/mysks/7"},
        {"version": "../x"},
        {"against": "models:/mysks/7"},
        {"against": "models:/mysks/1"},
    ):
        assert judged.send("/blind/start", {**START, **wrong}).status_code == 400, wrong
    page = judged.send("/blind/start", START).text
    key = PAIR.findall(page)[0][1]
    assert judged.send(f"/blind/{key}", {"at": "0", "chosen": "both"}).status_code == 400
    for where in (f"/blind/{key}/99/left", f"/blind/{key}/0/up", f"/blind/{key}/photo-99", "/blind/nobody"):
        assert judged.client.get(where).status_code == 400, where
    answer = judged.send("/blind/nobody", {"at": "0", "chosen": "left"})
    assert answer.status_code == 400 and "no sitting is open at this address: it was never one, or" in answer.text
    assert read_choices(copy, "models:/mysks/1") == ([], 0)


def test_the_figures_are_held_against_what_people_chose(judged: Browser, copy: Path) -> None:
    """Whoever always chooses the picture with the higher likeness agrees with likeness in every choice."""
    from pipeline.evaluation.comparison import reading

    evaluation = json.loads((copy / "reports/evaluation.json").read_text())
    read = reading("likeness", [evaluation])
    assert read
    rows = {(row["model"], row["prompt_id"], row["seed"]): row for row in evaluation["pictures"]}
    subjects = [row for row in evaluation["pictures"] if (row["model"], row["kind"]) == ("tuned", "subject")]
    decided: set[str] = set()
    for number, row in enumerate(subjects[:6]):
        other = rows["base", row["prompt_id"], row["seed"]]
        decided |= {row["prompt_id"]} if read(row) != read(other) else set()
        keep_choice(
            copy,
            Choice(
                at=f"2026-01-01T00:00:0{number}.0Z",
                by="Eve",
                version="models:/mysks/1",
                against="base",
                prompt_id=row["prompt_id"],
                prompt="x",
                seed=row["seed"],
                left="version",
                chosen="version" if read(row) > read(other) else "against",
                pictures={"version": row["sha256"], "against": other["sha256"]},
                sitting="s",
            ),
        )
    (found,) = tallies(copy, "models:/mysks/1")
    likeness = found.agreement[0]
    assert likeness.title == "likeness to the held-out photos" and likeness.hits == likeness.total == len(decided) > 0
    assert f"in {len(decided)} of {len(decided)} prompts" in judged.get("/verdict")


def test_pictures_from_different_noises_are_no_pair(tmp_path: Path) -> None:
    ours, theirs = kept_of(tmp_path / "1", p01=7, p02=8, p03=9), kept_of(tmp_path / "2", p01=7, p02=1)
    there, other_noises = pairs_of(ours, theirs, "models:/mysks/2")
    assert set(there) == {("p01", 1)} and other_noises == 1
    assert set(pairs_of(ours, ours, "base")[0]) == {("p01", 1), ("p02", 1), ("p03", 1)}


def test_the_refusal_names_different_noises_where_no_pair_is_left(judged: Browser, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.studio.blind_page.pairs_of", lambda *_: ({}, 3))
    answer = judged.send("/blind/start", START)
    assert answer.status_code == 400 and "drew the same prompts from different noises" in answer.text


def test_the_noise_that_both_pictures_start_from_is_kept_with_the_choice(judged: Browser, copy: Path) -> None:
    key = PAIR.findall(judged.send("/blind/start", START).text)[0][1]
    judged.send(f"/blind/{key}", {"at": "0", "chosen": "left"})
    (choice,), _ = read_choices(copy, "models:/mysks/1")
    rows = json.loads((copy / "reports/evaluation.json").read_text())["pictures"]
    row = next(row for row in rows if (row["prompt_id"], row["seed"]) == choice.pair)
    assert choice.noise == row["noise"] != choice.seed
