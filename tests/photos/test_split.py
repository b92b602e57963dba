"""Which photos are held out: by whole scenes, exactly as many as wanted, and the same ones when new photos come."""

import random

import pytest

from pipeline.photos.split import LEAST_TRAINED, SplitError, hold_out


def test_the_number_is_reached_wherever_scenes_add_up_to_it() -> None:
    rng = random.Random(1)
    for _ in range(300):
        scenes = [str(rng.randrange(5)) for _ in range(rng.randrange(8, 14))]
        digests = [f"{index:064x}" for index in range(len(scenes))]
        sizes = [scenes.count(scene) for scene in set(scenes)]
        sums = {0}
        for size in sizes:
            sums |= {one + size for one in sums}
        wanted = rng.randrange(0, len(scenes) - LEAST_TRAINED + 1)
        if wanted in sums:
            held = hold_out(scenes, digests, wanted, 1)
            assert sum(held) == wanted
            assert all(len({held[i] for i, one in enumerate(scenes) if one == scene}) == 1 for scene in scenes)
        else:
            with pytest.raises(SplitError, match="by whole scenes"):
                hold_out(scenes, digests, wanted, 1)


def test_photos_that_are_always_held_out_stay_so_with_their_scenes_when_others_come() -> None:
    scenes = [f"scene{index}" for index in range(12)]
    digests = [f"{index:064x}" for index in range(12)]
    before = hold_out(scenes, digests, 3, 1)
    kept = [index for index, held in enumerate(before) if held]
    moved = 0
    for extra in range(40):
        more = [f"{1000 + extra * 10 + index:064x}" for index in range(6)]
        names = [*scenes, *(f"new{index}" for index in range(5)), scenes[kept[0]]]
        moved += hold_out(names, digests + more, 3, 1)[:12] != before
        after = hold_out(names, digests + more, 3, 1, kept)
        assert [index for index in range(12) if after[index]] == kept
        assert after[-1]  # a new photo of a held-out scene
        assert sum(after) == 4
    assert moved  # without it the split would have moved


def test_where_too_few_are_left_the_parameter_that_is_to_blame_is_named() -> None:
    scenes, digests = ["a", "a", "a", *"bcdef"], [f"{index:064x}" for index in range(8)]
    with pytest.raises(SplitError, match=r"set prepare.heldout to 4 or less, or add"):
        hold_out(scenes, digests, 5, 1)
    for wanted in (1, 4, 5):  # with its scene, the first photo makes three, which alone are not too many
        kept = [0, 3, 4]
        with pytest.raises(SplitError, match=r"prepare.always_heldout .* 5 of them: name fewer there, set .* to 0, or"):
            hold_out(scenes, digests, wanted, 1, kept)
    assert sum(hold_out(scenes, digests, 1, 1, [0])) == 3


def test_no_photo_is_held_out_where_none_is_wanted() -> None:
    assert hold_out(["a", "b"], ["1" * 64, "2" * 64], 0, 1, kept=[0]) == [False, False]
