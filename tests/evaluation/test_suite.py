from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation import suite as suites
from pipeline.evaluation.deciding import Use, deciding_suites, shared_between, suite_of
from pipeline.evaluation.suite import BUILT_IN, NO_SUBJECT, SuiteError, load_suite
from pipeline.params import Params, Subject, has_word, load_params

MYSKS = Subject(name="mysks", token="mysks", class_noun="plush toy", animal="wild boar")
THESIS = {
    "a cinematic portrait of mysks plush toy during golden hour near the lake",
    "a photo of mysks plush toy wearing a tiny astronaut suit inside a spaceship",
    "a photo of mysks near books",
    "a photo of mysks walking on a snowy mountain trail at sunset",
    "an under water photo of mysks plush toy in aquarium",
    "a realistic photo of mysks sitting on a wooden floor in a Scandinavian-style living room, shallow depth of field",
    "a 3D render of mysks, studio lighting",
    "a watercolor painting of mysks in a flower field",
}


def suite(tmp_path: Path, text: str, subject: Subject = MYSKS):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return load_suite(str(path), subject)


def test_the_eight_prompts_of_the_thesis_stand_there_verbatim() -> None:
    prompts = load_suite("thesis", MYSKS).prompts
    assert {prompt.text for prompt in prompts if prompt.kind == "subject"} == THESIS


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_twin_or_probe_names_the_token(path: Path) -> None:
    for prompt in load_suite(path.stem, MYSKS).prompts:
        assert "mysks" not in prompt.twin
        assert ("mysks" in prompt.text) == (prompt.kind == "subject")


@pytest.mark.parametrize("noun", ["dog", "cat", "elephant", "frog", "car", "owl", "toy"])
@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_probe_without_the_subject_never_asks_for_its_class(path: Path, noun: str) -> None:
    prompts = load_suite(path.stem, Subject(name="one", token="qwz", class_noun=noun, animal=None)).prompts
    others = [prompt.text for prompt in prompts if prompt.group == NO_SUBJECT]
    assert others and not [text for text in others if has_word(text, noun)]
    assert [prompt for prompt in prompts if prompt.group == "class"]


def test_both_forms_of_the_name_have_the_same_twin(tmp_path: Path) -> None:
    found = suite(tmp_path, "prompts:\n  a:\n    - a photo of {subject}\n    - a picture of {token}\n")
    assert [prompt.twin for prompt in found.prompts] == ["a photo of a plush toy", "a picture of a plush toy"]
    owl = Subject(name="owl", token="qwz", class_noun="owl")
    assert suite(tmp_path, "prompts: {a: ['a photo of {token}']}", owl).prompts[0].twin == "a photo of an owl"


def test_the_digest_follows_the_prompts(tmp_path: Path) -> None:
    one = suite(tmp_path, "prompts: {a: ['a photo of {token}']}").digest
    assert suite(tmp_path, "# a comment\nprompts: {a: ['a photo of {token}']}").digest == one
    assert suite(tmp_path, "prompts: {a: ['a photo of {token}!']}").digest != one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts: {a: ['a photo of a cat']}", "lacks"),
        ("prompts: {a: ['a {token}']}\nprobes: {b: ['a {subject}']}", "must not have"),
        ("prompts: {a: ['a {tokn}']}", "unknown fields"),
        ("prompts: {a: ['a {token}', 'a {token}']}", "is listed twice"),
        ("prompts: {a: ['a {token} with a {']}", r"prompts\.a: 'a \{token\} with a \{' has braces that name no field"),
        ("prompts: {a: ['a {token}']}\nprobes: {b: ['a } cat']}", r"probes\.b: 'a \} cat' has braces"),
        ("prompts: {a: ['a {token!z}', 'a {token:d}', 'a {subject:{class}}']}", r"4 problems(.|\n)*has braces"),
        ("prompts: {a: ['a {}', 'a {token.x}']}", "3 problems(.|\n)*unknown fields"),
        ("prompts: {}", "no prompt of the subject"),
        ("prompt: {}", r"2 problems:\n  prompts: is missing\n  prompt: unknown key"),
        ("prompts: {a: ['a {token}']}\nprompts: {b: ['b {token}']}", "line 2 .*'prompts' stands twice"),
        ("prompts: {all: ['a {token}']}", r"prompts\.all: no group can be named so(.|\n)*give it another name"),
        ("prompts: {training captions: ['a {token}']}", "captions of training photos are counted there"),
        ("prompts: {a: ['a {token}']}\nprobes: {all: ['a cat']}", r"probes\.all: no group can be named so"),
        (
            "prompts: {style: ['a watercolour of {token}']}\nstyles: {pencil: [pencil], watercolor: [watercolor]}",
            r"prompts\.style: 'a watercolour of mysks' has the words of none of the suite's styles \('pencil'",
        ),
        ("prompts: {a: [", "is not valid YAML"),
        ("- a photo", "is not a suite"),
    ],
)
def test_what_is_no_suite_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SuiteError, match=words):
        suite(tmp_path, text)


def test_doubled_braces_are_braces(tmp_path: Path) -> None:
    found = suite(tmp_path, "prompts: {a: ['a photo of {token} with {{braces}}']}").prompts
    assert found[0].text == "a photo of mysks with {braces}"


def test_an_unknown_suite_names_those_that_are_there() -> None:
    with pytest.raises(SuiteError, match="thesis"):
        load_suite("dissertation", MYSKS)


def test_a_built_in_suite_that_was_changed_is_refused(tmp_path: Path, monkeypatch) -> None:
    for file in BUILT_IN.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(suites, "BUILT_IN", tmp_path)
    assert load_suite("pocket", MYSKS).digest == load_suite("pocket", MYSKS).digest
    path = tmp_path / "pocket.yaml"
    path.write_text(path.read_text().replace("on the beach", "at the beach"))
    with pytest.raises(SuiteError, match="was changed, but built-in suites are frozen"):
        load_suite("pocket", MYSKS)


@pytest.mark.parametrize("name", ["pocket", "standard"])
def test_what_chooses_shares_nothing_with_what_reports(name: str) -> None:
    choosing, tuning, reporting = (load_suite(f"{name}{end}", MYSKS) for end in ("-choosing", "-tuning", ""))
    disjoint = [Use("select", choosing, [1, 2]), Use("tune", tuning, [3]), Use("sample", reporting, [4])]
    assert shared_between(disjoint) == []
    lines = shared_between(
        [Use("select", choosing, [1, 2]), Use("tune", reporting, [2]), Use("sample", reporting, [1])]
    )
    assert [line.split(":")[0] for line in lines if "prompts" not in line] == [
        "select.seeds and tune.seeds share 2",
        "select.seeds and sample.seeds share 1",
    ]
    assert [f"share {len({prompt.text for prompt in reporting.prompts})} prompts" in line for line in lines] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("prompts: {a: ['a photo of {token} in a garden']}", "prompts: {a: ['a photo of {subject} in a garden']}"),
        ("prompts: {a: ['a photo of {token} in a garden']}", "prompts: {a: ['A photo of {token},  in a garden.']}"),
        (
            "prompts: {a: ['a photo of {token} in a garden']}",
            "prompts: {a: ['a drawing of {token}']}\nprobes: {class: ['a photo of a {class} in a garden']}",
        ),
        (
            "prompts: {a: ['a drawing of {token}']}\nprobes: {class: ['a photo of a {class} in a garden']}",
            "prompts: {a: ['a photo of {subject} in a garden']}",
        ),
    ],
)
def test_prompts_of_one_twin_are_shared(tmp_path: Path, one: str, other: str) -> None:
    uses = [Use("select", suite(tmp_path, one), [1]), Use("sample", suite(tmp_path, other), [2])]
    (line,) = shared_between(uses)
    assert "share 1 prompt, such as" in line and "in a garden" in line
    assert shared_between([uses[0], Use("sample", suite(tmp_path, other.replace("garden", "park")), [2])]) == []


def test_a_suite_is_refused_where_another_asks_for_a_training_caption_of_it(values: dict[str, Any], tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("prompts: {a: ['a photo of {token} on a hill']}\ntraining_captions: 1")
    params = Params.model_validate({**values, "sample": {**values["sample"], "suite": str(tmp_path / "mine.yaml")}})
    asked = load_suite(values["select"]["suite"], MYSKS).prompts[0].text
    assert suite_of("sample", params, ["mysks on a rock"]).name == "mine"
    with pytest.raises(SuiteError) as error:
        suite_of("select", params, [asked])
    lines = str(error.value).splitlines()
    assert len(lines) == 2 and "share" not in str(error.value)  # a class probe asks for its twin
    assert lines[1].startswith(f"'{asked}' is the caption of a training photo, which sample.suite (mine) draws, and ")
    assert (
        f"select.suite (choosing) asks for '{asked}': what chooses a checkpoint cannot also be what judges" in lines[1]
    )


def test_a_search_that_is_off_decides_nothing(values: dict[str, Any]) -> None:
    def params(pictures: int, tuning: str) -> Params:
        tune = {**values["tune"], "pictures": pictures, "suite": tuning, "seeds": values["sample"]["seeds"]}
        return Params.model_validate({**values, "tune": tune})

    uses, problems = deciding_suites(params(0, "nosuch"), ["a photo of mysks"])
    assert ([use.section for use in uses], problems) == (["select", "sample"], [])
    uses, problems = deciding_suites(params(900, "nosuch"))
    assert [use.section for use in uses] == ["select", "sample"] and problems[0].startswith("tune.suite: ")
    uses, problems = deciding_suites(params(900, values["tune"]["suite"]))
    assert [use.section for use in uses] == ["select", "tune", "sample"]
    assert [line.split(":")[0] for line in problems] == [
        f"tune.seeds and sample.seeds share {', '.join(map(str, values['sample']['seeds']))}"
    ]


def test_what_the_subject_is_put_in_for_the_training_is_not_asked_for(values: dict[str, Any]) -> None:
    def problems(words: str, images: int) -> list[str]:
        places = {"images": images, "prompts": {"on the moon": "the moon", words: "an empty place"}}
        params = Params.model_validate({**values, "prior": {**values["prior"], "places": places}})
        return deciding_suites(params)[1]

    text = next(
        prompt.text for prompt in load_suite(values["sample"]["suite"], MYSKS).prompts
        if prompt.kind == "subject" and prompt.text.startswith("a photo of mysks plush toy ")
    )  # fmt: skip
    words = text.removeprefix("a photo of mysks plush toy ")
    (found,) = problems(words, 2)
    assert found.startswith(f"prior.places: '{words}'") and text in found
    assert problems(words, 0) == problems("on the sun", 2) == []


def test_a_training_caption_may_name_a_place_that_the_subject_is_put_in(values: dict[str, Any]) -> None:
    places = {"images": 1, "prompts": {"on the moon": "the moon"}}
    params = Params.model_validate({**values, "prior": {**values["prior"], "places": places}})
    assert deciding_suites(params, ["a photo of mysks plush toy on the moon"])[1] == []


def test_the_embedded_base_is_trained_on_no_prompt_that_it_is_judged_by() -> None:
    params = load_params(BUILT_IN.parents[2] / "profiles" / "pocket.yaml")
    suites = ("pocket", "pocket-choosing", "pocket-tuning", "pocket-hard")
    asked = {prompt.text for name in suites for prompt in load_suite(name, params.subject).prompts}
    assert len(asked) > 60
    assert not asked & set(params.prior.prompts)


def test_the_suites_of_the_embedded_base_share_nothing() -> None:
    names = {"select": "pocket-choosing", "tune": "pocket-tuning"}
    for reporting in ("pocket", "pocket-hard"):
        suites = {**names, "sample": reporting}
        uses = [Use(section, load_suite(name, MYSKS), [at]) for at, (section, name) in enumerate(suites.items())]
        assert shared_between(uses) == []


def test_a_subject_that_depicts_no_animal_has_no_prompts_of_one() -> None:
    plain = MYSKS.model_copy(update={"animal": None})
    groups = {prompt.group for prompt in load_suite("pocket", plain).prompts}
    assert "animal" not in groups
    assert "animal" in {prompt.group for prompt in load_suite("pocket", MYSKS).prompts}


def test_training_captions_come_with_their_twins_in_an_order_of_their_own() -> None:
    captions = [f"mysks plush toy on table {number}" for number in range(9)]
    found = [prompt for prompt in load_suite("pocket", MYSKS, captions).prompts if prompt.kind == "caption"]
    assert len(found) == 4
    assert {prompt.text for prompt in found} <= set(captions)
    assert all(prompt.twin == prompt.text.replace("mysks plush toy", "a plush toy") for prompt in found)
    again = load_suite("pocket", MYSKS, captions[::-1] + captions[:2]).prompts
    assert [prompt.text for prompt in again if prompt.kind == "caption"] == [prompt.text for prompt in found]


def test_a_caption_that_the_suite_asks_for_already_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("prompts: {a: ['a photo of {subject}', 'a photo of {token} on a hill']}\ntraining_captions: 2\n")
    captions = ["a photo of mysks plush toy", "A photo of mysks on a hill.", "mysks on a rock", "mysks in a box"]
    found = load_suite(str(path), MYSKS, captions).prompts
    assert {prompt.text for prompt in found if prompt.kind == "caption"} == {"mysks on a rock", "mysks in a box"}
    assert len(found) == 4


@pytest.mark.parametrize("animal", ["dog", "cat", "penguin", "elephant", "robot"])
@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_probe_without_the_subject_never_asks_for_its_animal(path: Path, animal: str) -> None:
    prompts = load_suite(path.stem, MYSKS.model_copy(update={"animal": animal})).prompts
    others = [prompt.text for prompt in prompts if prompt.group == NO_SUBJECT]
    assert others and not [text for text in others if has_word(text, animal)]


def test_a_prompt_with_an_article_is_shared_with_the_one_without(tmp_path: Path) -> None:
    texts = [
        "a photo of {subject} in a garden",
        "a photo of a {subject}, in a garden",
        "a photo of a {token} in a garden",
    ]
    uses = [Use("select", suite(tmp_path, f"prompts: {{a: ['{text}']}}"), [at]) for at, text in enumerate(texts)]
    for at, one in enumerate(uses):
        for other in uses[at + 1 :]:
            (line,) = shared_between([one, Use("sample", other.suite, [9])])
            assert "share 1 prompt" in line
    owl = Subject(name="owl", token="qwz", class_noun="owl")
    for prompt in load_suite("dreambench", owl).prompts:
        assert "a owl" not in prompt.twin and "a an" not in prompt.twin


def test_a_style_is_found_whatever_its_case_and_only_in_whole_words(tmp_path: Path) -> None:
    styles = "styles: {photo: [a photo], pencil: [pencil drawing]}"
    prompts = "prompts: {a: ['A Photo of {token}', 'a photograph of {token}', 'Pencil Drawing of {token}']}"
    found = suite(tmp_path, f"{prompts}\n{styles}").prompts
    assert [prompt.style for prompt in found] == ["photo", "", "pencil"]


@pytest.mark.parametrize(
    ("caption", "twin"),
    [
        ("a photo of sks dog with masks", "a photo of a dog with masks"),
        ("masks and sks, sks-like", "masks and a dog, sks-like"),
        ("SKS dog on a chair", "a dog on a chair"),
    ],
)
def test_a_token_within_a_longer_word_is_no_token(caption: str, twin: str) -> None:
    subject = Subject(name="sks", token="sks", class_noun="dog")
    (found,) = [prompt for prompt in load_suite("standard", subject, [caption]).prompts if prompt.kind == "caption"]
    assert found.twin == twin


def test_each_prompt_has_the_style_of_its_longest_words_and_its_form_of_the_name() -> None:
    found = {prompt.text: prompt for prompt in load_suite("pocket", MYSKS).prompts}
    assert found["a 3D render of mysks, studio lighting"].style == "3D render"
    assert found["a photo of mysks near books"].style == "photo"
    assert found["a photo of mysks near books"].form == "token"
    assert found["a pencil drawing of mysks plush toy in the forest"].form == "token and class noun"
    assert found["a photo of a wild boar in the snow"].form == ""
