"""Which code ran: the git commit, and the patch that changed and new source files add to it."""

from pathlib import Path
from typing import Any

from pipeline.files import digest_value, scratch_folder
from pipeline.lineage.git import Git, GitRefused, GitSilent, open_git, with_own_index

# Everything that git tracks counts, but for what cannot change a result: what DVC writes, pages and tests.
BESIDE = (":(exclude)dvc.lock", ":(exclude)docs", ":(exclude)tests", ":(exclude,glob)**/*.md")
# A run's own parameters and photos, which the record holds by themselves, and what DVC writes when it tracks photos.
CHOICES = (":(exclude)params.yaml", ":(exclude)data.dvc", ":(exclude,glob)**/.gitignore")
# New files count only where code is looked for, and only if they are code: anything else may be a secret.
ROOMS = ("pipeline", "flows")
NAMED = ("params.yaml", "data.dvc", "dvc.yaml")
SOURCES = (".py", ".pyi", ".c", ".h", ".j2")
SUITES = ("pipeline/evaluation/suites/", (".yaml", ".json"))
LARGEST_SOURCE = 1 << 20  # bytes of one new file
LARGEST_PATCH = 8 << 20  # bytes
DIFF = (
    "diff-index", "--cached", "--patch", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv",
    "--no-renames", "--no-relative", "--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers",
    "--no-indent-heuristic", "--ignore-submodules=none", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip


class CodeUnknown(Exception):
    """Code cannot be rebuilt; `certain` where the record and the repository contradict each other."""

    def __init__(self, message: str, certain: bool):
        super().__init__(message)
        self.certain = certain


def code_state(workspace: Path) -> dict[str, Any]:
    """Commit, and the patch of changed and new files against it, relative to `workspace`.

    `clean`: nothing differs but parameters and photos; None where git cannot tell, and `unknown` says why. `changed`
    and `new` name the files in the patch, `left_out` those that are too large for it.
    """
    state: dict[str, Any] = {"commit": None, "clean": None, "patch": None, "patch_sha256": None}
    try:
        git = open_git(workspace)
    except GitSilent as error:
        return {**state, "unknown": str(error)}
    try:
        state["commit"] = git.run("rev-parse", "--verify", "HEAD^{commit}").decode().strip()
    except GitRefused:
        return {**state, "unknown": f"the repository at {git.folder} has no commit yet: commit the code first"}
    try:
        return {**state, **_changes(git)}
    except GitRefused as error:
        return {**state, "unknown": f"git cannot compare the files with the commit: {str(error).splitlines()[0]}"}


def describe_code(code: dict[str, Any]) -> list[str]:
    """What a person should know before the code runs: what is recorded beyond the commit, and what cannot be."""
    if code["clean"] is None:
        return [f"the code of this run is not on record: {code.get('unknown', 'git cannot tell what changed')}"]
    lines = []
    if names := code.get("changed"):
        lines.append(f"changed since the commit, recorded as a patch: {', '.join(names)}")
    if names := code.get("new"):
        lines.append(f"not tracked by git, recorded with their content: {', '.join(names)}")
    if names := code.get("left_out"):
        lines.append(f"too large to record, so that this run cannot be rebuilt; commit them: {', '.join(names)}")
    if code.get("shallow"):
        lines.append("the clone is shallow: earlier records cannot be checked here before `git fetch --unshallow`")
    return lines


def tree_at(workspace: Path, commit: str, patch: str | None, target: Path) -> None:
    """Write the files of `commit` with `patch` applied into the empty folder `target`.

    Raises:
        CodeUnknown: no repository here, no such commit in it, or a patch that does not fit it.
    """
    try:
        git = open_git(workspace)
    except GitSilent as error:
        raise CodeUnknown(str(error), certain=False) from None
    try:
        git.run("cat-file", "-e", f"{commit}^{{commit}}")
    except GitRefused:
        hint = "; the clone is shallow, `git fetch --unshallow` brings the rest" if git.shallow else ""
        raise CodeUnknown(f"commit {commit} is not in this repository{hint}", certain=not git.shallow) from None
    try:
        with with_own_index(git, git.tree(commit)) as own:
            if patch:
                try:
                    own.run("apply", "--cached", "--whitespace=nowarn", "-p1", "-", given=patch.encode())
                except GitRefused:
                    raise CodeUnknown(f"the recorded patch does not fit commit {commit}", certain=True) from None
            whole = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "checkout-index", "--all")
            own.run(*whole, f"--prefix={target.resolve()}/")
    except GitRefused as error:
        reason = str(error).splitlines()[0]
        raise CodeUnknown(f"commit {commit} cannot be read from this repository: {reason}", certain=True) from None


def _changes(git: Git) -> dict[str, Any]:
    """The changes of the working tree against HEAD, taken through an index of its own."""
    new: list[str] = []
    left_out: list[str] = []
    for name in _new_sources(git):
        size = (git.folder / name).lstat().st_size
        (left_out if size > LARGEST_SOURCE else new).append(name)
    hidden = [item[2:] for item in git.lines("ls-files", "-t", "-z") if item.startswith("S ")]
    absent = [name for name in hidden if not (git.folder / name).exists()]  # a sparse checkout has not all files
    with with_own_index(git, git.tree("HEAD")) as own:
        if absent:
            own.run("update-index", "--skip-worktree", "-z", "--stdin", given=_listed(absent))
        own.run("add", "--update", "--", ".")
        if new:
            own.run("update-index", "--add", "-z", "--stdin", given=_listed(new))
        names = own.lines("diff-index", "--cached", "--name-only", "--no-renames", "-z", *_against(git, BESIDE))
        beyond = own.lines("diff-index", "--cached", "--name-only", "-z", *_against(git, (*BESIDE, *CHOICES)))
        patch = _patch(own, names)
    if len(patch.encode()) > LARGEST_PATCH:
        patch, left_out = "", [*left_out, *names]
    state = {
        "clean": not beyond and not left_out,
        "patch": patch or None,
        "patch_sha256": digest_value(patch) if patch else None,
        "changed": [_readable(name) for name in names if name not in new],
        "new": [_readable(name) for name in new],
        "left_out": [_readable(name) for name in left_out],
    }
    return {**state, "shallow": True} if git.shallow else state


def _new_sources(git: Git) -> list[str]:
    """Files that the commit lacks: those that somebody staged, and untracked ones of the kinds that can be code.

    What the repository ignores is no code; what the user's own settings ignore may be.
    """
    committed = set(git.lines("ls-tree", "-r", "-z", "--name-only", "--full-tree", git.tree("HEAD")))
    tracked = git.lines("ls-files", "-z", "--", ".", *BESIDE)
    staged = [name for name in tracked if name not in committed and (git.folder / name).is_file()]
    rooms = ("--others", "--exclude-per-directory=.gitignore", "--", *ROOMS, *NAMED)
    folder, kinds = SUITES
    untracked = [
        name
        for name in git.lines("ls-files", "-z", *rooms)
        if name.endswith(SOURCES) or name in NAMED or (name.startswith(folder) and name.endswith(kinds))
    ]
    return sorted({*staged, *untracked})


def _patch(git: Git, names: list[str]) -> str:
    """One patch in UTF-8: a file in another encoding goes in as binary, byte for byte."""
    if not names:
        return ""
    whole = git.run(*DIFF, *_against(git, BESIDE))
    try:
        return whole.decode()
    except UnicodeDecodeError:
        pass
    parts = []
    with scratch_folder() as folder:
        attributes = Path(folder) / "attributes"
        attributes.write_text("* -diff\n")
        for name in names:
            against = (git.tree("HEAD"), "--", f":(literal){name}")
            part = git.run(*DIFF, *against)
            try:
                parts.append(part.decode())
            except UnicodeDecodeError:
                binary = git.run("-c", f"core.attributesFile={attributes}", *DIFF, *against)
                parts.append(binary.decode(errors="replace"))
    return "".join(parts)


def _against(git: Git, without: tuple[str, ...]) -> tuple[str, ...]:
    return (git.tree("HEAD"), "--", ".", *without)


def _listed(names: list[str]) -> bytes:
    return b"".join(name.encode(errors="surrogateescape") + b"\0" for name in names)


def _readable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="replace")
