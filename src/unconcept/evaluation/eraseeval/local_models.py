"""Large models of transformers from folders on disk: one that sees, one that writes, one that
embeds.

No code of a folder is run, weights are safetensors, and nothing is fetched.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...errors import InputError
from ...io.weights import check_safetensors
from ...models.devices import default_device
from ...models.loading import reason_of

HEAD = 2**20  # bytes of each file that identify a model, besides the sizes

CAPTION_TOKENS = 96

PROMPT_TOKENS = 120

YES = ("yes", "Yes", " yes", " Yes")

NO = ("no", "No", " no", " No")


def identify(folder: Path) -> str:
    """A name that changes with the model: that of the folder, and a hash of its files.

    Of a file the size and the first megabyte count: weights have gigabytes.

    Args:
        folder: Of the model.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*")):
        if file.is_file():
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            with file.open("rb") as content:
                digest.update(content.read(HEAD))
    return f"{folder.name} {digest.hexdigest()[:16]}"


def open_folder(folder: Path, kind: str, reader: str) -> tuple[Any, Any]:
    """Open a model and what prepares its input.

    Args:
        folder: In transformers' layout.
        kind: Name of an Auto class of models.
        reader: Name of an Auto class of tokenizers or processors.

    Returns:
        (model, reader), the model on the GPU if there is one, in the precision of its files.

    Raises:
        InputError: The folder does not hold such a model.
    """
    import transformers

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} does not contain a model: it has no config.json")
    for file in sorted(folder.glob("*.safetensors")):
        check_safetensors(file)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = getattr(transformers, kind).from_pretrained(
            folder, use_safetensors=True, dtype="auto", **options
        )
        prepared = getattr(transformers, reader).from_pretrained(folder, **options)
    except Exception as error:  # transformers raises many kinds of errors for a broken folder
        raise InputError(
            f"{folder} cannot be opened as {kind.removeprefix('Auto')}: {reason_of(error)}"
        ) from error
    return model.eval().requires_grad_(False).to(default_device()), prepared


def is_vision_model(folder: Path) -> bool:
    """Does a folder hold a model that reads images and writes text?

    Args:
        folder: In transformers' layout.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as TYPES,
    )

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} does not contain a model: {reason_of(error)}") from error
    return config.model_type in TYPES


class ChatModel:
    """An instruct model that answers questions, with an image or without.

    name    of its folder
    plug    a name that changes with its weights
    """

    def __init__(self, folder: Path):
        """Open the model.

        Args:
            folder: Of an instruct LLM, or of a vision-language model.

        Raises:
            InputError: It is something else, or has no chat template.
        """
        self.name = folder.name
        self.plug = identify(folder)
        self.sees = is_vision_model(folder)
        kind = "AutoModelForImageTextToText" if self.sees else "AutoModelForCausalLM"
        reader = "AutoProcessor" if self.sees else "AutoTokenizer"
        self.model, self.reader = open_folder(folder, kind, reader)
        self.tokenizer: Any = getattr(self.reader, "tokenizer", self.reader)
        if not getattr(self.reader, "chat_template", None):
            raise InputError(f"{folder} has no chat template: an instruct model is needed")

    def inputs(self, question: str, image: Tensor | None = None) -> Any:
        """A question as the model reads it.

        Args:
            question: In words.
            image: [3, H, W] in [0, 1]; None: without.
        """
        content: Any = question
        if self.sees:
            content = [{"type": "text", "text": question}]
            if image is not None:
                content.insert(0, {"type": "image"})
        text = self.reader.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        options: dict[str, Any] = {"text": [text], "return_tensors": "pt"}
        if image is not None:
            options["images"] = [as_pil(image)]
        start = self.tokenizer.bos_token
        if not self.sees or (start and text.startswith(start)):
            options["add_special_tokens"] = False  # the template has written them
        prepared = self.reader(**options).to(default_device())
        for name, value in prepared.items():
            if torch.is_floating_point(value):
                prepared[name] = value.to(self.model.dtype)
        return prepared

    @torch.no_grad()
    def say(self, question: str, image: Tensor | None = None, tokens: int = PROMPT_TOKENS) -> str:
        """The likeliest answer, token by token.

        Args:
            question: In words.
            image: [3, H, W] in [0, 1]; None: without.
            tokens: At most.
        """
        inputs = self.inputs(question, image)
        written = self.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        new = written[0, inputs["input_ids"].shape[1] :]
        return " ".join(self.tokenizer.decode(new, skip_special_tokens=True).split())

    @torch.no_grad()
    def agrees(self, question: str, image: Tensor) -> bool:
        """Is "yes" likelier than "no" as the next token?

        Args:
            question: To be answered by yes or no.
            image: [3, H, W] in [0, 1].

        Raises:
            InputError: The tokenizer cannot tell the two apart.
        """
        yes, no = self.first_tokens(YES), self.first_tokens(NO)
        if yes & no or not yes or not no:
            raise InputError(f'{self.name} has no tokens for "yes" and "no"')
        logits = self.model(**self.inputs(question, image)).logits[0, -1].float()
        return bool(logits[sorted(yes)].max() > logits[sorted(no)].max())

    def first_tokens(self, words: Sequence[str]) -> set[int]:
        """The first token of each of some words, as far as they are known.

        Args:
            words: Spellings of one word.
        """
        first = set()
        for word in words:
            ids = self.tokenizer.encode(word, add_special_tokens=False)
            if ids and ids[0] != self.tokenizer.unk_token_id:
                first.add(ids[0])
        return first


class TextEncoder:
    """An encoder of the class of BERT or ModernBERT: the mean of its last states.

    name  of its folder
    plug  a name that changes with its weights
    """

    def __init__(self, folder: Path):
        """Open the model.

        Args:
            folder: Of an encoder.

        Raises:
            InputError: It is something else.
        """
        self.name = folder.name
        self.plug = identify(folder)
        self.model, self.tokenizer = open_folder(folder, "AutoModel", "AutoTokenizer")

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], batch: int = 32) -> Tensor:
        """The mean over a text's own tokens.

        Args:
            texts: N texts.
            batch: Texts per forward pass.

        Returns:
            [N, D] on the CPU.
        """
        means = []
        for start in range(0, len(texts), batch):
            some = list(texts[start : start + batch])
            inputs = self.tokenizer(some, padding=True, truncation=True, return_tensors="pt")
            inputs = inputs.to(default_device())
            states = self.model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"][..., None].float()
            means.append(((states * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu())
        return torch.cat(means)


def as_pil(image: Tensor) -> Image.Image:
    """An image as processors of transformers take it.

    Args:
        image: [3, H, W] in [0, 1].
    """
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).cpu().numpy())
