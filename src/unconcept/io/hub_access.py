"""The Hub of models: limited waiting, because its client would wait for ever, and its errors."""

import logging

log = logging.getLogger(__name__)

HUB_TIMEOUT = 20.0  # seconds without a sign of life

HUB_ADVICE = (
    "it is out of reach, or HF_HUB_OFFLINE is set, and the model was not downloaded before; give a "
    "folder on disk, or try again with a network"
)

# Errors of huggingface_hub, httpx and the system without an answer of the hub.
OUT_OF_REACH = (
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
    "ConnectTimeout",
    "ReadTimeout",
    "ConnectionError",
    "gaierror",
)


def limit_waiting() -> None:
    """Let every request of this process end that the Hub leaves without a sign of life."""
    from huggingface_hub import get_session

    session = get_session()
    if hasattr(session, "timeout"):
        session.timeout = HUB_TIMEOUT


def hub_answers(name: str, revision: str | None) -> bool:
    """Does the Hub answer a request for a model?

    Args:
        name: The model's id, owner/name.
        revision: None: the newest.

    Returns:
        False where it says nothing for `HUB_TIMEOUT` seconds, which is logged; files that were
        downloaded before can be used then. A refusal counts as an answer, and so does a
        missing network: both are left to the library that loads the model.
    """
    from huggingface_hub import model_info

    limit_waiting()
    try:
        model_info(name, revision=revision, timeout=HUB_TIMEOUT)
    except Exception as error:
        if is_timeout(error):
            log.warning("the hub did not answer within %g s", HUB_TIMEOUT)
            return False
    return True


def is_timeout(error: BaseException | None) -> bool:
    """Is this, or what caused it, the error of a request that took too long?

    Args:
        error: Any exception; its causes and contexts are searched as well.
    """
    while error is not None:
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_reach(error: BaseException | None) -> bool:
    """Is this the error of a hub that was not contacted, or did not answer?

    Args:
        error: Any exception; its causes and contexts are searched as well. Errors of
            huggingface_hub are recognized by their class's name, without importing it.
    """
    while error is not None:
        if type(error).__name__ in OUT_OF_REACH or "cached snapshot folder" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def reason_of(error: Exception) -> str:
    """The first line of another library's error, with its kind.

    Args:
        error: Any exception, of one line or many.

    Returns:
        "OSError: no such file", for a message of the program's own.
    """
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0]}"
