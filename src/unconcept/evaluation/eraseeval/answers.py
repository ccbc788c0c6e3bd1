"""Answers of large models, each computed once: by plug, question and what it is about."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...io.whole_file import whole_file

# Positions of subjects that are not known -> their answers, of which JSON can hold each.
Compute = Callable[[Sequence[int]], Sequence[Any]]


class Answers:
    """Answers in memory and on disk."""

    def __init__(self, folder: Path | None = None):
        """Nothing is read yet.

        Args:
            folder: Where answers are kept, a small file each; None: in memory alone.
        """
        self.folder = folder
        self.known: dict[str, Any] = {}

    def ask(self, plug: str, question: str, subjects: Sequence[str], compute: Compute) -> list[Any]:
        """The answers about some subjects.

        Args:
            plug: Name of the model that answers, which changes with its weights.
            question: The same for all of them.
            subjects: N, each by a text that identifies it (`hash_image`).
            compute: Answers those that are not known.

        Returns:
            N answers.
        """
        keys = []
        for subject in subjects:
            key = json.dumps([plug, question, subject])
            keys.append(hashlib.sha256(key.encode()).hexdigest())
        new: dict[str, int] = {}
        for i, key in enumerate(keys):
            if not self.recall(key):
                new.setdefault(key, i)
        if new:
            for key, answer in zip(new, compute(list(new.values())), strict=True):
                self.keep(key, answer)
        return [self.known[key] for key in keys]

    def recall(self, key: str) -> bool:
        """Is an answer known, in memory or on disk? A damaged file counts as none.

        Args:
            key: Of the answer.
        """
        if key not in self.known and self.folder is not None:
            try:
                text = self.file(self.folder, key).read_text(encoding="utf-8")
                self.known[key] = json.loads(text)
            except (OSError, ValueError):
                return False
        return key in self.known

    def keep(self, key: str, answer: Any) -> None:
        """Remember an answer.

        Args:
            key: Of the answer.
            answer: What JSON can hold.
        """
        self.known[key] = answer
        if self.folder is not None:
            file = self.file(self.folder, key)
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(file, durable=False) as part:
                part.write_text(json.dumps(answer), encoding="utf-8")

    @staticmethod
    def file(folder: Path, key: str) -> Path:
        """Where an answer is kept: 256 folders hold a few files each.

        Args:
            folder: Of all answers.
            key: Of this one.
        """
        return folder / key[:2] / f"{key[2:]}.json"


def hash_image(image: Tensor) -> str:
    """The hash of an image as it is seen, in 8 bits.

    Args:
        image: [3, H, W] in [0, 1].
    """
    pixels = (image * 255).round().byte().cpu().contiguous()
    content = bytes(str(tuple(pixels.shape)), "ascii") + pixels.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()
