"""Blindness: which side a picture is on, and which pairs come when, is a matter of chance."""

from collections import Counter

from pipeline.studio.sittings import KEPT, LONGEST, Sittings, draw_order, either_side

PLACES = [(prompt, seed) for prompt in ("p01", "p02", "p03") for seed in range(10)]


def test_either_side_is_shown_on_the_left_about_as_often() -> None:
    count = Counter(either_side() for _ in range(200))
    assert set(count) == {"version", "against"}
    assert min(count.values()) >= 60  # by chance less than once in ten million times


def test_a_sitting_has_every_prompt_about_as_often_and_no_pair_twice() -> None:
    order = draw_order(PLACES)
    assert len(order) == len(set(order)) == LONGEST == 20 and set(order) <= set(PLACES)
    assert sorted(Counter(prompt for prompt, _ in order).values()) == [6, 7, 7]
    few = draw_order([(f"p{number:02d}", seed) for number in range(LONGEST) for seed in range(3)])
    assert len({prompt for prompt, _ in few}) == LONGEST  # every prompt before any comes again


def test_two_sittings_have_another_order() -> None:
    first, second = draw_order(PLACES), draw_order(PLACES)
    assert first != second and first != sorted(first)
    assert len({tuple(sorted(draw_order(PLACES))) for _ in range(5)}) > 1  # and other pairs


def test_fewer_pairs_than_a_sitting_takes_are_all_shown() -> None:
    assert sorted(draw_order(PLACES[:5])) == sorted(PLACES[:5])
    assert draw_order([]) == []


def test_the_sitting_used_longest_ago_is_forgotten_and_not_the_oldest() -> None:
    sittings = Sittings()
    first, second = (sittings.begin(by, "models:/mysks/1", "base", [], []) for by in ("Ann", "Ben"))
    for _ in range(KEPT - 2):
        sittings.begin("Cem", "models:/mysks/1", "base", [], [])
    assert sittings.find(first.key) is first
    sittings.begin("Dan", "models:/mysks/1", "base", [], [])
    assert sittings.find(first.key) is first and sittings.find(second.key) is None and len(sittings.open) == KEPT
