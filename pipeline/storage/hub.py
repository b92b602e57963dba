"""A model folder on the Hugging Face hub."""

from pathlib import Path

from pipeline.errors import NotNow, UserError

RECORD = "lineage.json"  # it names photos and captions


class HubError(UserError):
    """The hub refuses what was asked."""


class HubSilent(HubError, NotNow):
    """The hub does not answer."""


def push_folder(
    model: Path, repository: str, card: str, private: bool, with_record: bool, endpoint: str | None = None
) -> str:
    """Upload a model folder as one commit to a repository of the hub, which is made if it is missing.

    Files that the repository has already are not sent again, so that the same command resumes.

    Args:
        model: a pipeline folder.
        repository: owner/name.
        card: the text of README.md.
        private: whether a new repository is private; one that exists stays as it is.
        with_record: upload lineage.json too, which names photos, captions and uncommitted changes of the code.
        endpoint: the hub's address; None: huggingface_hub's (`HF_ENDPOINT`).

    Returns:
        The address of the commit.

    Raises:
        HubError: the name is impossible, nobody is logged in, or the hub refuses.
        HubSilent: the hub does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(endpoint=endpoint, library_name="dreamtrace")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_file(
            path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repository, commit_message="Model card"
        )
        done = api.upload_folder(
            repo_id=repository,
            folder_path=model,
            commit_message="Model",
            ignore_patterns=None if with_record else [RECORD],
        )
    except HFValidationError:
        raise HubError(f"'{repository}' is no repository of the hub; write OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        raise _refused(repository, status, error) from None
    except Exception as error:  # the network: each version of the library has its own errors
        reason = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise HubSilent(
            f"the hub did not take {repository} ({type(error).__name__}: {reason}); check the network, and run the "
            "same command again: files that arrived are not sent again"
        ) from None
    return str(done.commit_url)


def _refused(repository: str, status: int | None, error: Exception) -> HubError:
    if status in (401, 403):
        return HubError(
            f"the hub refuses to write to {repository} (status {status}): log in with `hf auth login`, with a token "
            "that may write, and check the owner's name"
        )
    if status is not None and status >= 500:
        return HubSilent(f"the hub failed (status {status}); run the same command again later")
    return HubError(f"the hub refuses {repository} (status {status}): {str(error).splitlines()[0][:200]}")
