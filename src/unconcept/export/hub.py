"""Upload to the Hub."""

from pathlib import Path

from ..errors import RunError
from ..io import hub_access
from ..io.hub_access import is_timeout, limit_waiting


def push(path: Path, repository: str, card: str) -> str:
    """Upload a folder, or a file with its card, to a repository of the Hub.

    Args:
        path: The folder or file.
        repository: owner/name; it is created if it does not exist.
        card: README.md of a file; a folder holds its own.

    Returns:
        The repository's address.

    Raises:
        RunError: The Hub refused, or cannot be reached.
    """
    from huggingface_hub import HfApi

    limit_waiting()
    try:
        hub = HfApi()
        address = str(hub.create_repo(repository, exist_ok=True))
        if path.is_dir():
            hub.upload_folder(repo_id=repository, folder_path=path)
        else:
            hub.upload_file(repo_id=repository, path_or_fileobj=path, path_in_repo=path.name)
            hub.upload_file(
                repo_id=repository, path_or_fileobj=card.encode(), path_in_repo="README.md"
            )
    except Exception as error:  # of the Hub, of the network, or of the library's own transport
        reason = str(error).partition("\n")[0] or type(error).__name__
        if is_timeout(error):
            reason = f"the hub did not answer within {hub_access.HUB_TIMEOUT:g} s"
        raise RunError(f"{path} was written, but not pushed: {reason}") from error
    return address
