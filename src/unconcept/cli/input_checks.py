"""Checks of what the user typed that need no torch.

A wrong word, name or path is answered with the nearest right one before anything heavy is imported.
"""

from collections.abc import Sequence
from pathlib import Path

from ..concepts.concept import Concept
from ..concepts.words import check_encodable
from ..config.options import EMBEDDED, Look, Output
from ..errors import InputError
from ..io.output_folder import check_out
from ..io.peer_weights import check_own_edit, is_peer_edit
from .suggestions import edits_beside, misspelled, nearest, similar_sibling

SINGLE_FILES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth", ".pkl")

JUDGES = ("imagenet", "nudenet")


def check_output(output: Output) -> None:
    """Can the folder of `--out` be written? A default folder is a new one.

    Args:
        output: The options of the output.

    Raises:
        InputError: It exists, and `--force` is not there, or it cannot be written.
    """
    if output.out:
        check_out(output.out, output.force)


def check_path(path: Path | None, option: str) -> None:
    """Does a file or folder that is to be read exist?

    Args:
        path: What was given for the option; None is fine.
        option: The option's name, for the message.

    Raises:
        InputError: There is nothing at `path`; the nearest name in its folder is suggested.
    """
    if path is None or exists(path, option):
        return
    raise InputError(f"{option} {path} does not exist{similar_sibling(path)}")


def check_file(path: Path | None, option: str) -> None:
    """Does a file that is to be read exist, and is it a file?

    Args:
        path: What was given for the option; None is fine.
        option: The option's name, for the message.

    Raises:
        InputError: There is nothing at `path`, or a folder.
    """
    check_path(path, option)
    if path is not None and path.is_dir():
        raise InputError(f"{option} {path} is a folder: name the file in it")


def check_folder(path: Path | None, option: str) -> None:
    """Does a folder that is to be read exist, and is it a folder?

    Args:
        path: What was given for the option; None is fine.
        option: The option's name, for the message.

    Raises:
        InputError: There is nothing at `path`, or a file.
    """
    check_path(path, option)
    if path is not None and not path.is_dir():
        raise InputError(f"{option} {path} is a file: name the folder that holds it")


def exists(path: Path, option: str) -> bool:
    """Is there something at a path?

    Args:
        path: Any path.
        option: The option's name, for the message.

    Raises:
        InputError: The system cannot answer, as for a name that is too long.
    """
    try:
        return path.exists()
    except OSError as error:
        raise InputError(f"{option} {path} cannot be read: {error.strerror or error}") from error


def check_edit(path: Path, option: str, of_any_tool: bool = False) -> None:
    """Is this an edit of unconcept, and not the weights of another tool? Folders are left alone.

    Args:
        path: What was given for the option.
        option: The option's name, for the message.
        of_any_tool: A LoRA and changed weights of other tools are edits, too.

    Raises:
        InputError: There is nothing at `path`, or other weights; the error says what they are, and
            how they can be evaluated.
    """
    if not exists(path, option) and not similar_sibling(path):
        edits = edits_beside(path)
        there = f": the edits in {path.parent} are {', '.join(edits)}" if edits else ""
        raise InputError(f"{option} {path} does not exist{there}")
    check_path(path, option)
    if not (of_any_tool and is_peer_edit(path)):
        check_own_edit(path)


def check_prompts(prompts: Sequence[str]) -> None:
    """Can these be prompts?

    Args:
        prompts: What the user typed.

    Raises:
        InputError: There are none, or one is not valid text.
    """
    if not prompts:
        raise InputError('name a prompt, as in unconcept generate "a pig"')
    for prompt in prompts:
        check_encodable(prompt, "the prompt")


def check_model(name: str) -> None:
    """Can this be a model? What is inside a folder or file is checked when it is loaded.

    Args:
        name: What `--model` got.

    Raises:
        InputError: It is not an embedded model, nothing on disk, and not a Hub id.
    """
    path = Path(name)
    if not name.strip():
        raise InputError("--model is blank: name a model, or leave it away")
    if name in EMBEDDED or exists(path, "--model"):
        return
    if path.suffix in SINGLE_FILES:
        raise InputError(f"{path} does not exist{similar_sibling(path)}")
    if is_hub_id(name):
        return
    match = nearest(name, EMBEDDED, cutoff=0.6)
    suggestion = f': did you mean "{match}"?' if match else similar_sibling(path)
    raise InputError(
        f'there is no model "{name}"{suggestion or "."} --model takes "emoji", "emoji-flow" '
        'or "emoji-video", a diffusers folder, a .safetensors file, or a Hub id like owner/name'
    )


def check_judge(judge: object) -> None:
    """Can this be a judge?

    Args:
        judge: What `--judge` got: a name, a folder, a Hub id, or None.

    Raises:
        InputError: It is neither a judge's name, nor a folder that exists, nor a Hub id.
    """
    if not isinstance(judge, str) or judge in JUDGES:
        return
    if judge.strip() and exists(Path(judge), "--judge"):
        check_folder(Path(judge), "--judge")
        return
    if is_hub_id(judge):
        return
    match = nearest(judge, JUDGES, cutoff=0.6)
    suggestion = f': did you mean "{match}"?' if match else similar_sibling(Path(judge))
    raise InputError(
        f"there is no CLIP or SigLIP model in {judge}{suggestion or ':'} --judge takes the folder "
        'or the Hub id of one, "imagenet" or "nudenet"'
    )


def check_look(look: Look, prompts: Path | None) -> None:
    """Do the files and folders exist that evaluation images need, and are the numbers in range?

    Args:
        look: The options of the evaluation images.
        prompts: What `--prompts` got.

    Raises:
        InputError: One does not exist, or is out of range.
    """
    check_file(prompts, "--prompts")
    check_folder(look.real, "--real")
    check_judge(look.judge)
    look.check()


def is_hub_id(name: str) -> bool:
    """Could this be a repository of the Hub, owner/name?

    Args:
        name: What `--model` or `--judge` got.

    Returns:
        True for exactly one slash, unless it begins like a path (".", "/", "~"). The Hub is not
        asked.
    """
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def check_concepts(concepts: Sequence[Concept], model: str) -> None:
    """Does an embedded model know the words? Others have no closed vocabulary.

    Args:
        concepts: What is to be erased, with alternatives and retained words.
        model: What `--model` got.

    Raises:
        InputError: A word is not in the vocabulary, but a slip of the pen away from one that is.
            Words that resemble none are left to the run, which warns that the model cannot draw
            them.
    """
    if model not in EMBEDDED:
        return
    from ..models.emoji.vocabulary import LEXICON, WORDS

    vocabulary = (*WORDS, *LEXICON)
    for concept in concepts:
        words = [concept.erase, *([concept.alternative] if concept.alternative else [])]
        for word in (*words, *concept.keep):
            if match := misspelled(word.lower(), vocabulary):
                raise InputError(
                    f'{model} does not know the word "{word}": did you mean "{match}"?'
                )
