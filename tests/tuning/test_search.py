"""The search for a recipe, on figures that are made up: what it tries, what it draws, and what it chooses."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.known_interval import figure_words
from pipeline.evaluation.suite import Suite, load_suite, part_of
from pipeline.params import Draw, Subject
from pipeline.sampling.idle_keys import drawn_as_base
from pipeline.sampling.recipe import Recipe
from pipeline.tuning.halving import Outcome, Round, search
from pipeline.tuning.plan import Plan, fewest_pictures, kept, make_plan
from pipeline.tuning.record import Progress, search_record, trial_table
from pipeline.tuning.space import VALUES, Proposal, pairs, parts_of, single_changes, wordings
from pipeline.tuning.trial import Trial, choose, order
from pipeline.tuning.verdict import compare_recipe

DRAW = Draw(steps=2, guidance=3.0, scheduler="ddim", batch=8)
SUITE = load_suite("pocket-tuning", Subject(name="mysks", token="mysks", class_noun="plush toy", animal="wild boar"))
SEEDS = 2
PARTS = [*VALUES, "wording"]


def trial(recipe: Recipe, scores, failed: tuple[str, ...] = (), short: float = 0.1) -> Trial:
    return Trial(recipe, 0.5, 0.5, None, dict.fromkeys(failed, short), np.asarray(scores, float))


def test_single_changes_change_one_part_each_and_take_turns() -> None:
    found = single_changes(PARTS, DRAW, "wild boar")
    assert all(len(parts_of(proposal.recipe)) == 1 for proposal in found)
    assert [parts_of(proposal.recipe)[0] for proposal in found[: len(PARTS)]] == PARTS
    assert len({proposal.recipe.digest for proposal in found}) == len(found)
    assert {p.recipe.guidance for p in found if parts_of(p.recipe) == ("guidance",)} == {4.5, 6.0, 2.1}
    assert not any("avoid" in parts_of(proposal.recipe) for proposal in single_changes(PARTS, DRAW, None))
    assert {p.recipe.template for p in found if p.by == "grammar"} == set(wordings())


@pytest.mark.parametrize(
    ("animal", "words"), [("unicorn", "a unicorn"), ("owl", "an owl"), ("hour wolf", "an hour wolf")]
)
def test_what_a_search_avoids_has_the_article_of_its_noun(animal: str, words: str) -> None:
    found = {proposal.recipe.avoid for proposal in single_changes(["avoid"], DRAW, animal)}
    assert found == {f"a photo of {words}"}


def test_pairs_join_what_changes_different_parts() -> None:
    best = [Recipe(strength=0.8), Recipe(strength=0.6), Recipe(guidance=6.0)]
    found = [proposal.recipe for proposal in pairs(best, [])]
    assert found == [Recipe(strength=0.8, guidance=6.0), Recipe(strength=0.6, guidance=6.0)]
    assert [proposal.recipe for proposal in pairs(best, found[:1])] == found[1:]


@pytest.mark.parametrize("pictures", [60, 130, 200, 400, 700, 5000])
def test_a_search_draws_no_more_than_its_budget_and_nothing_twice(pictures: int) -> None:
    singles = single_changes(PARTS, DRAW, "wild boar")
    plan = make_plan(len(SUITE.prompts), SEEDS, pictures, len(singles))
    if pictures < fewest_pictures(len(SUITE.prompts), SEEDS):
        assert plan is None
        return
    drawn: set[tuple[str, str]] = set()

    def attempt(recipe: Recipe, part: Suite) -> Trial:
        drawn.update((recipe.digest, prompt.text) for prompt in part.prompts)
        merit = 0.2 + 0.01 * (recipe.strength == 0.8) + 0.01 * (recipe.guidance == 4.5)
        return trial(recipe, np.full((len(part.prompts), SEEDS), merit))

    outcome = search(SUITE, plan, singles, attempt, 50, 1, told=lambda line: None)
    by_base = len(SUITE.prompts) * SEEDS
    assert len(drawn) * SEEDS + by_base <= plan.pictures <= pictures
    sizes = [len(found.trials) for found in outcome.rounds]
    assert sizes[0] == plan.singles + 1 and sizes[-1] <= sizes[0]
    assert all(Recipe().digest in {one.recipe.digest for one in found.trials} for found in outcome.rounds)
    if pictures == 700:
        assert outcome.chosen.recipe == Recipe(strength=0.8, guidance=4.5)
        record = search_record(outcome, plan, 1, 50, 1)
        assert record["chosen"]["recipe"] == {"strength": 0.8, "guidance": 4.5}
        assert {p["by"] for p in record["proposals"]} == {"grid", "grammar", "pair"}
        assert len(trial_table(outcome.rounds)) == sum(sizes)


def test_single_changes_leave_pictures_for_pairs_where_the_budget_suffices_for_any() -> None:
    prompts, singles = len(SUITE.prompts), len(single_changes(PARTS, DRAW, "wild boar"))
    smallest = Plan(make_plan(prompts, SEEDS, 10**6, 1).prompts, SEEDS, 4, 1).pictures  # two go on and make a pair
    for pictures in range(fewest_pictures(prompts, SEEDS), 1500, 7):
        plan = make_plan(prompts, SEEDS, pictures, singles)
        assert plan.pictures <= pictures
        going = kept(plan.singles)
        assert (plan.pairs >= going / 2 and going > 1) if pictures >= smallest else plan.pairs == 0
    widest = make_plan(prompts, SEEDS, 10**6, singles)
    assert (widest.singles, widest.pairs) == (singles, kept(singles))


def test_a_part_of_a_suite_has_prompts_of_every_group_first() -> None:
    groups = {prompt.group for prompt in SUITE.prompts}
    assert {prompt.group for prompt in part_of(SUITE, len(groups)).prompts} == groups
    assert set(part_of(SUITE, 5).prompts) < set(part_of(SUITE, 9).prompts)


def test_gates_come_first_then_merit_then_the_simplest_within_one_standard_error() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.05, (12, 2))
    default = trial(Recipe(), 0.2 + noise)
    one = trial(Recipe(strength=0.8), 0.25 + noise + rng.normal(0, 0.01, noise.shape))
    shaken = rng.normal(0, 0.01, noise.shape)
    ahead = shaken - shaken.mean() + 0.001  # a lead of half a standard error
    two = trial(Recipe(strength=0.8, guidance=6), one.scores + ahead)
    cheat = trial(Recipe(guidance=9), 0.5 + noise, ("copies",))
    assert choose([default, one, two, cheat], default, 500, 1) is one
    assert order([default, one, cheat], default)[-1] is cheat
    same = trial(Recipe(strength=0.8), default.scores + ahead)
    assert choose([default, same], default, 500, 1) is default
    failing = replace(default, failed={"style": 0.1})
    helped = replace(one, failed={"style": 0.1})
    assert choose([failing, helped, cheat], failing, 500, 1) is helped
    assert choose([failing, replace(one, failed={"style": 0.1, "copies": 0.1})], failing, 500, 1) is failing
    assert choose([failing, replace(one, failed={"style": 0.1001})], failing, 500, 1).recipe == one.recipe
    assert choose([failing, replace(one, failed={"style": 0.1002})], failing, 500, 1) is failing
    repaired = replace(one, scores=default.scores - 0.01)
    assert choose([failing, helped, repaired], failing, 500, 1) is helped  # no gate makes up for less merit
    assert choose([failing, replace(helped, failed={}), cheat], failing, 500, 1).recipe == helped.recipe


def test_a_recipe_that_breaks_every_wording_does_not_escape_the_gate_that_the_default_passes() -> None:
    scores = np.full((12, 2), 0.2) + np.random.default_rng(5).normal(0, 0.05, (12, 2))
    default, better = trial(Recipe(), scores), trial(Recipe(strength=0.8), scores + 0.1)
    assert choose([default, better], default, 500, 1) is better
    broken = replace(better, missing=("wording",))
    assert choose([default, broken], default, 500, 1) is default and order([broken, default], default)[0] is default
    failing = replace(default, failed={"wording": 0.3})  # still measured
    assert choose([failing, broken], failing, 500, 1) is failing
    unknown = replace(default, missing=("wording",))
    assert choose([unknown, broken], unknown, 500, 1) is broken  # measured for neither
    assert choose([unknown, replace(better, failed={"wording": 0.1})], unknown, 500, 1).recipe == better.recipe


def test_what_a_search_chooses_can_be_adopted_where_the_report_s_pictures_say_the_same() -> None:
    rng = np.random.default_rng(4)
    before = rng.uniform(0.3, 0.7, (12, 2))
    default = trial(Recipe(), before * 0.5, ("style",))
    better = trial(Recipe(strength=0.8), (before + rng.uniform(0.09, 0.11, before.shape)) * 0.5, ("style",))
    repaired = trial(Recipe(guidance=6), (before - 0.02) * 0.5)
    trials = [default, better, repaired]
    chosen = choose(trials, default, 500, 1)
    assert chosen is better and order(trials, default) == [better, default, repaired]
    report = evaluation(before, ("style",)), evaluation(chosen.scores * 2, ("style",))
    assert compare_recipe(chosen.recipe, *report, {"suite": {}, "pictures": {"drawn": 40}, "rule": ""})["adopted"]


def test_a_recipe_has_one_number_in_all_rounds() -> None:
    default, one, two, three = (
        trial(recipe, np.full((2, 2), 0.2))
        for recipe in (Recipe(), Recipe(strength=0.8), Recipe(guidance=6), Recipe(strength=0.8, guidance=6))
    )
    rows = trial_table([Round(1, SUITE, [one, default, two]), Round(2, SUITE, [three, two, default])])
    assert [(row["round"], row["trial"]) for row in rows] == [(1, 1), (1, 0), (1, 2), (2, 3), (2, 2), (2, 0)]


def test_how_far_a_recipe_is_behind_is_counted_from_the_best_that_could_be_chosen() -> None:
    scores = np.full((12, 2), 0.2)
    default, good = trial(Recipe(), scores), trial(Recipe(strength=0.8), scores + 0.05)
    cheat = trial(Recipe(guidance=9), scores + 0.3, ("copies",))
    singles = [Proposal(one.recipe, "grid", "x") for one in (good, cheat)]
    outcome = Outcome([Round(3, SUITE, [good, default, cheat])], singles, default, good)
    plan = make_plan(len(SUITE.prompts), SEEDS, 700, 2)
    assert plan is not None
    rows = {row["digest"]: row["behind_best"] for row in search_record(outcome, plan, 1, 50, 1)["last_round"]}
    gaps = [rows[one.recipe.digest] for one in (good, default, cheat)]
    assert gaps == pytest.approx([0, 0.05, -0.25])


@pytest.mark.parametrize(("guidance", "expected"), [(1.0, [1.5, 2.0]), (40.0, [50.0, 28.0]), (50.0, [35.0])])
def test_no_proposal_draws_what_the_default_or_another_one_draws(guidance: float, expected: list[float]) -> None:
    found = single_changes(PARTS, DRAW.model_copy(update={"guidance": guidance}), "wild boar")
    assert [one.recipe.guidance for one in found if parts_of(one.recipe) == ("guidance",)] == expected
    assert len({one.recipe.digest for one in found}) == len(found)
    assert any(one.recipe.rescale for one in found) == (guidance > 1)
    low = [Recipe(guidance=1.0), Recipe(rescale=0.5), Recipe(strength=0.8)]
    assert [one.recipe.changed.keys() for one in pairs(low, [])] == [{"guidance", "strength"}, {"rescale", "strength"}]


def test_a_search_leaves_out_what_moves_the_u_net_where_textual_inversion_left_that_of_the_base() -> None:
    as_base = drawn_as_base("textual-inversion")
    found = single_changes(PARTS, DRAW, "wild boar", as_base=as_base)
    assert {part for one in found for part in parts_of(one.recipe)} == {*PARTS} - {"strength", "layout"}
    assert single_changes(["strength", "layout"], DRAW, None, as_base=as_base) == []


def evaluation(scores: np.ndarray, failed: tuple[str, ...] = (), value: float | None = 0.8) -> dict:
    rows = [
        {"model": "tuned", "kind": "subject", "prompt_id": f"p{prompt:02d}", "seed": seed, "identity_heldout": score}
        | {"prompt_fidelity": 0.5, "success": float(score > 0.5), "identity_train": score, "identity_masked": score}
        for prompt, row in enumerate(scores)
        for seed, score in enumerate(row)
    ]
    least = {"bound": "value", "direction": "at least", "threshold": 0.9, "value": value}
    gates = [{"gate": gate, "verdict": "missing" if value is None else "failed", **least} for gate in failed]
    gates.append({"gate": "likeness", "verdict": "passed", **least, "value": 0.95})
    return {"pictures": rows, "gates": gates, "missing": {}, "metrics": [], "settings": {"bootstrap": 1000, "seed": 1}}


def test_a_recipe_is_adopted_only_where_it_is_better_and_fails_no_further_gate() -> None:
    rng = np.random.default_rng(5)
    before = rng.uniform(0.3, 0.7, (12, 2))
    better, same = before + rng.normal(0.05, 0.01, before.shape), before + rng.normal(0, 0.05, before.shape)
    recipe, search = Recipe(strength=0.8), {"suite": {}, "pictures": {"drawn": 40}, "rule": ""}
    found = compare_recipe(recipe, evaluation(before), evaluation(better), search)
    assert found["adopted"] and "becomes the model's own" in found["sentence"]
    merit = found["gains"][0]
    assert merit["low"] < merit["value"] < merit["high"] and merit["value"] == pytest.approx(0.025, abs=0.003)
    assert [gain["metric"] for gain in found["gains"]] == ["merit", "likeness", "fidelity", "success"]
    assert not compare_recipe(recipe, evaluation(before), evaluation(same), search)["adopted"]
    assert not compare_recipe(recipe, evaluation(better), evaluation(before), search)["adopted"]
    failing = compare_recipe(recipe, evaluation(before, ("style",)), evaluation(better, ("style", "animal")), search)
    assert not failing["adopted"] and failing["newly_failed"] == ["animal"]
    assert compare_recipe(recipe, evaluation(before, ("style",)), evaluation(better, ("style",)), search)["adopted"]


def test_one_prompt_gives_a_recipe_no_interval_and_no_verdict() -> None:
    before = np.array([[0.4, 0.5]])
    found = compare_recipe(
        Recipe(strength=0.8), evaluation(before), evaluation(before + 0.1), {"pictures": {"drawn": 40}}
    )
    assert {(gain["low"], gain["high"], gain["verdict"]) for gain in found["gains"]} == {
        (None, None, "no difference shown")
    }
    assert " to 0.275, +0.050)" in found["sentence"] and not found["adopted"]


def test_a_gain_that_is_equal_in_every_picture_has_no_known_interval_and_adopts_nothing() -> None:
    before = np.full((12, 2), 0.4)
    given = evaluation(before), evaluation(before + 0.05), {"suite": {}, "pictures": {"drawn": 40}, "rule": ""}
    found = compare_recipe(Recipe(strength=0.8), *given)
    assert not found["adopted"] and (found["gains"][0]["low"], found["gains"][0]["high"]) == (None, None)


def test_a_gain_that_is_nearly_equal_in_every_picture_has_a_known_interval() -> None:
    before = np.full((12, 2), 0.4)
    better = before + 0.05 + 1e-5 * np.random.default_rng(0).random(before.shape)
    found = compare_recipe(Recipe(strength=0.8), evaluation(before), evaluation(better), {"pictures": {"drawn": 40}})
    likeness = next(gain for gain in found["gains"] if gain["metric"] == "likeness")
    assert figure_words(likeness, sign="+") == "+0.0500 (+0.0500 to +0.0500)"


@pytest.mark.parametrize(
    ("by_default", "by_recipe", "adopted"),
    [(0.8, 0.8, True), (0.8, 0.85, True), (0.8, 0.7, False), (0.8, None, False), (None, 0.5, True), (0.95, 0.8, False)],
)
@pytest.mark.parametrize("drawn", [40, 0], ids=["searched", "given"])
def test_a_gate_that_the_default_fails_still_guards_against_worse(
    by_default: float | None, by_recipe: float | None, adopted: bool, drawn: int
) -> None:
    rng = np.random.default_rng(5)
    before = rng.uniform(0.3, 0.7, (12, 2))
    default = evaluation(before, ("style",), by_default)
    other = evaluation(before + rng.uniform(0.04, 0.06, before.shape), ("style",), by_recipe)
    found = compare_recipe(Recipe(strength=0.8), default, other, {"pictures": {"drawn": drawn}})
    assert (found["adopted"], found["newly_failed"]) == (adopted, [] if adopted else ["style"])
    assert ("style would fail by more" in found["sentence"]) != adopted


@pytest.mark.parametrize(
    ("shape", "draws", "words"),
    [
        ((6, 2), 1000, "6 prompts of the subject, at least 10 are needed"),
        ((12, 1), 1000, "1 seed, at least 2 are needed"),
        ((12, 2), 20, "20 draws, at least 1000 are needed"),
    ],
)
def test_a_searched_recipe_needs_the_sample_that_a_promotion_needs(
    shape: tuple[int, int], draws: int, words: str
) -> None:
    before = np.random.default_rng(6).uniform(0.3, 0.7, shape)
    both = [evaluation(scores) | {"settings": {"bootstrap": draws, "seed": 1}} for scores in (before, before + 0.05)]
    found = compare_recipe(Recipe(strength=0.8), *both, {"pictures": {"drawn": 40}})
    assert not found["adopted"] and words in found["sentence"]
    assert compare_recipe(Recipe(strength=0.8), *both, {"pictures": {"drawn": 0}})["adopted"]


def test_progress_tells_how_long_it_takes_from_what_was_drawn_now() -> None:
    times, lines = iter([0.0, 10.0, 20.0]), []
    progress = Progress(100, lines.append, lambda: next(times))
    progress.add("found on disk", 40, 0)
    progress.add("a recipe", 10, 5)
    progress.add("another", 10, 10)
    assert lines == [
        "found on disk; 40 of 100 pictures",
        "a recipe; 50 of 100 pictures, about 2 min left",
        "another; 60 of 100 pictures, about 53 s left",
    ]
