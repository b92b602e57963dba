"""A model folder on the Hugging Face hub."""

from pathlib import Path

from pipeline.errors import NotNow, UserError, first_line

RECORD = "lineage.json"  # it names photos and captions
RECIPE = "recipe.yaml"
LEARNED = ("adapters", "embeddings", "learned.json")  # what training learned, kept apart from the components
COMPONENTS = (
    "feature_extractor",
    "model_index.json",
    "safety_checker",
    "scheduler",
    "text_encoder",
    "tokenizer",
    "unet",
    "vae",
)


class HubError(UserError):
    """The hub refuses what was asked."""


class HubSilent(HubError, NotNow):
    """The hub does not answer."""


def push_folder(
    model: Path,
    repository: str,
    card: str,
    private: bool,
    with_record: bool,
    recipe: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a model folder, its card and its recipe as one commit to a repository of the hub, made if it is missing.

    Files that the repository has already are not sent again, so that the same command resumes. What an earlier upload
    of another model left in the places of a model is removed by the commit; other files of the repository stay.

    Args:
        model: a pipeline folder.
        repository: owner/name.
        card: the text of README.md.
        private: whether a new repository is private; one that exists stays as it is.
        with_record: upload lineage.json too, which names photos, captions and uncommitted changes of the code.
        recipe: the text of recipe.yaml, or None where the model is drawn by the default recipe.
        endpoint: the hub's address; None: huggingface_hub's (`HF_ENDPOINT`).

    Returns:
        The address of the commit.

    Raises:
        HubError: the name is impossible, nobody is logged in, or the hub refuses.
        HubSilent: the hub does not answer.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(endpoint=endpoint, library_name="dreamtrace")
    files = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}
    content: dict[str, Path | bytes] = {name: path for name, path in files.items() if with_record or name != RECORD}
    content["README.md"] = card.encode()
    if recipe is not None:
        content[RECIPE] = recipe.encode()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        stale = [name for name in api.list_repo_files(repository) if name not in content and _of_a_model(name)]
        done = api.create_commit(
            repository,
            [
                *(CommitOperationDelete(name) for name in stale),
                *(CommitOperationAdd(name, held) for name, held in content.items()),
            ],
            commit_message="Model",
        )
    except HFValidationError:
        raise HubError(f"'{repository}' is no repository of the hub; write OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        raise _refused(repository, status, error) from None
    except Exception as error:  # the network: each version of the library has its own errors
        reason = first_line(error, "no reason given")[:200]
        raise HubSilent(
            f"the hub did not take {repository} ({type(error).__name__}: {reason}); check the network, and run the "
            "same command again: files that arrived are not sent again"
        ) from None
    return str(done.commit_url)


def _of_a_model(name: str) -> bool:
    """Whether a file of a repository lies where uploads of this module put files."""
    return name in (RECORD, RECIPE) or name.partition("/")[0] in (*COMPONENTS, *LEARNED)


def _refused(repository: str, status: int | None, error: Exception) -> HubError:
    if status in (401, 403):
        return HubError(
            f"the hub refuses to write to {repository} (status {status}): log in with `hf auth login`, with a token "
            "that may write, and check the owner's name"
        )
    if status is not None and status >= 500:
        return HubSilent(f"the hub failed (status {status}); run the same command again later")
    return HubError(f"the hub refuses {repository} (status {status}): {str(error).splitlines()[0][:200]}")
