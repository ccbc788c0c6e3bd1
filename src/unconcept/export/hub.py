"""Upload to the hub."""

from pathlib import Path

from ..errors import RunError


def push(made: Path, repository: str, card: str) -> str:
    """Upload a folder, or a file with its `card` beside it, to a repository of the hub, which is made when it is not there; the address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        hub = HfApi()
        address = str(hub.create_repo(repository, exist_ok=True))
        if made.is_dir():
            hub.upload_folder(repo_id=repository, folder_path=made)
        else:
            hub.upload_file(repo_id=repository, path_or_fileobj=made, path_in_repo=made.name)
            hub.upload_file(repo_id=repository, path_or_fileobj=card.encode(), path_in_repo="README.md")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        raise RunError(f"{made} was written, but not pushed: {str(error).splitlines()[0]}") from error
    return address
