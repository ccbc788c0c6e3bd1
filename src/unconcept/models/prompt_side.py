"""What every family shares of its text encoders: tokens, token embeddings, hidden states."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..io.text import ONCE
from .interface import Condition
from .tokenizers import texts_behind, token_counts

log = logging.getLogger(__name__)


class PromptSide(ABC):
    """The part of a `PipelineModel` that reads prompts.

    pipe        the pipeline
    components  the networks by name
    encoders    names of the text encoders
    """

    pipe: Any
    family: str
    components: Mapping[str, nn.Module]
    encoders: ClassVar[tuple[str, ...]]
    offloaded_to: torch.device | None

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition: ...

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        """Token ids [N, tokens] by text encoder, padded as the pipeline pads them.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.

        Raises:
            InputError: The family does not give access to its text encoder's input.
        """
        raise InputError(f"{self.family} does not give access to its text encoder's input")

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings, in families that give access to them.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width], before positions are
                added.
            ids: Token ids by text encoder [N, tokens]; they tell where a prompt ends.

        Returns:
            The condition, N rows, with gradients to `vectors`.

        Raises:
            InputError: The family does not give access to its text encoder's input.
        """
        raise InputError(f"{self.family} does not give access to its text encoder's input")

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> tuple[Condition, Condition]:
        ids = self.tokenize(prompts)
        vectors = {}
        for name, tokens in ids.items():
            encoder: Any = self.components[name]
            vectors[name] = encoder.get_input_embeddings()(tokens)
        return vectors, ids

    def text_layer(self) -> str:
        """The ninth of CLIP's 12 layers, as in Interpret then Deactivate (arXiv 2503.09446).

        With another number of layers the one at the same depth, but never the last.
        """
        encoders = [name for name in self.encoders if name in self.components]
        if len(encoders) > 1:
            raise InputError(
                "this model has several text encoders: an edit of one of them would leave the "
                "concept in the others"
            )
        layers = []
        for path, module in self.components[encoders[0]].named_modules():
            if type(module).__name__.endswith(("EncoderLayer", "DecoderLayer")):
                layers.append(path)
        return f"{encoders[0]}.{layers[min(len(layers) - 2, 8 * len(layers) // 12)]}"

    def text_hidden_states(self, prompts: Sequence[str]) -> Tensor:
        states: list[Tensor] = []
        component, _, path = self.text_layer().partition(".")

        def record(module: nn.Module, args: Any, output: Any) -> None:
            states.append(output[0] if isinstance(output, tuple) else output)

        layer = self.components[component].get_submodule(path)
        handle = layer.register_forward_hook(record)
        try:
            for i in range(0, len(prompts), 64):
                self.encode(prompts[i : i + 64])
        finally:
            handle.remove()
        return torch.cat(states).float()

    @contextmanager
    def text_encoders_on(self, device: torch.device) -> Iterator[None]:
        encoders = [self.components[name] for name in self.encoders if name in self.components]
        if self.offloaded_to:
            encoders = []
        devices_before = [next(encoder.parameters()).device for encoder in encoders]
        try:
            for encoder in encoders:
                encoder.to(device)
            yield
        finally:
            for encoder, before in zip(encoders, devices_before):
                encoder.to(before)

    def warn_of_truncation(self, prompts: Sequence[str]) -> None:
        """Log how many prompts are longer than the text encoder reads, and one of them.

        Args:
            prompts: N prompts; nothing is logged where all of them fit.
        """
        truncated = []
        for prompt, lost in zip(prompts, self.truncated_texts(prompts)):
            if lost:
                truncated.append((prompt, lost))
        if truncated:
            log.warning(
                '%d of %d prompts are longer than the text encoder reads; in "%s" this part is '
                'ignored: "%s"',
                len(truncated),
                len(prompts),
                *truncated[0],
                extra=ONCE,
            )

    def truncated_text(self, prompt: str) -> str:
        return self.truncated_texts([prompt])[0]

    def truncated_texts(self, prompts: Sequence[str]) -> list[str]:
        """`truncated_text` of many prompts, which are tokenized together.

        Args:
            prompts: N prompts.

        Returns:
            N texts; "" where the whole prompt is read.
        """
        tokenizer = self.pipe.tokenizer
        return texts_behind(tokenizer, prompts, tokenizer.model_max_length - 2)

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        tokenizer = self.pipe.tokenizer
        lengths = token_counts(tokenizer, prompts, tokenizer.model_max_length)
        return lengths - 2  # the end token follows, the start token comes first
