"""Which photos are held out of training: whole scenes, the same ones whatever order the files come in."""

import hashlib
from collections.abc import Collection, Sequence

from pipeline.errors import UserError, counted

LEAST_TRAINED = 4  # photos that holding others out must leave to train on


class SplitError(UserError):
    """The wanted number of photos cannot be held out by whole scenes."""


def hold_out(
    scenes: Sequence[str], digests: Sequence[str], wanted: int, seed: int, kept: Collection[int] = ()
) -> list[bool]:
    """For each photo whether it is held out: whole scenes, `wanted` photos in all.

    The scenes of the photos in `kept` (by index) are held out first, even where they are more than `wanted`. Other
    scenes are taken in the order of a hash of the seed and their photos' digests; a scene with which the number cannot
    be reached is passed over.

    Raises:
        SplitError: no scenes add up to `wanted` photos, or fewer than `LEAST_TRAINED` are left to train on.
    """
    members: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        members.setdefault(scene, []).append(index)

    def order(scene: str) -> str:
        known = ",".join(sorted(digests[index] for index in members[scene]))
        return hashlib.sha256(f"{seed}:{known}".encode()).hexdigest()

    taken = {scenes[index] for index in kept} if wanted else set()
    always = count = sum(len(members[scene]) for scene in taken)
    others = sorted(set(members) - taken, key=order)
    sums = [{0}]  # what the scenes from each place on can add up to
    for scene in reversed(others):
        sums.append(sums[-1] | {one + len(members[scene]) for one in sums[-1]})
    for scene, rest in zip(others, reversed(sums[:-1]), strict=True):
        if wanted - count - len(members[scene]) in rest:
            taken.add(scene)
            count += len(members[scene])
    if count < wanted:
        sizes = ", ".join(f"{scene}: {len(found)}" for scene, found in sorted(members.items()))
        raise SplitError(
            f"cannot hold out {wanted} of {counted(len(scenes), 'photo')} by whole scenes ({sizes}); "
            "set prepare.heldout to a number that scenes add up to, or 0"
        )
    left = len(scenes) - count
    if count and left < LEAST_TRAINED:
        most = max(len(scenes) - LEAST_TRAINED, 0)
        remedy = f"set prepare.heldout to {f'{most} or less' if most else 0}"
        if always > most:
            named = f"prepare.always_heldout and the scenes of its photos make {always} of them"
            remedy = f"{named}: name fewer there, set prepare.heldout to 0"
        raise SplitError(
            f"{counted(len(scenes), 'photo')} with {count} held out leave {left} to train on, fewer than "
            f"{LEAST_TRAINED}: "
            f"{remedy}, or add photos"
        )
    return [scene in taken for scene in scenes]
