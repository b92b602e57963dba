"""Which photos are held out of training: whole scenes, the same ones whatever order the files come in."""

import hashlib

from pipeline.errors import UserError


class SplitError(UserError):
    """The wanted number of photos cannot be held out by whole scenes."""


def hold_out(scenes: list[str], digests: list[str], wanted: int, seed: int) -> list[bool]:
    """For each photo whether it is held out: whole scenes, `wanted` photos in all.

    Scenes are taken in the order of a hash of the seed and their photos' digests; a scene that would hold out too
    many is passed over.

    Raises:
        SplitError: no choice in that order reaches `wanted` photos while at least one is left to train on.
    """
    members: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        members.setdefault(scene, []).append(index)

    def order(scene: str) -> str:
        known = ",".join(sorted(digests[index] for index in members[scene]))
        return hashlib.sha256(f"{seed}:{known}".encode()).hexdigest()

    taken: set[str] = set()
    count = 0
    for scene in sorted(members, key=order):
        if count + len(members[scene]) <= wanted:
            taken.add(scene)
            count += len(members[scene])
    if count != wanted or count >= len(scenes):
        sizes = ", ".join(f"{scene}: {len(found)}" for scene, found in sorted(members.items()))
        raise SplitError(
            f"cannot hold out {wanted} of {len(scenes)} photos by whole scenes ({sizes}); "
            "set prepare.heldout to a number that scenes add up to, or 0"
        )
    return [scene in taken for scene in scenes]
