"""Whom EraseEval asks instead of the judge: models in local folders, named in a YAML file.

    writer: models/Qwen2.5-7B-Instruct        # an instruct LLM, or a VLM: prompts
    captioner: models/Qwen2.5-VL-7B-Instruct  # a VLM: captions
    eyes: [models/Qwen2.5-VL-7B-Instruct]     # VLMs: is the concept in the image?
    embedder: models/ModernBERT-large         # an encoder: captions as vectors
    features: models/clip-vit-large-patch14   # a CLIP: images as vectors, agreement with prompts

Whoever is not named stays as it is offline. Every answer is cached.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ...concepts.concept import Concept
from ...concepts.templates import article
from ...errors import InputError
from ..benchmark import PromptCase
from ..features import CachedFeatures
from ..zero_shot import ZeroShot
from .answers import Answers, hash_image
from .local_models import CAPTION_TOKENS, ChatModel, TextEncoder
from .measures import names_concept
from .plugs import Plugs

ROLES = ("writer", "captioner", "eyes", "embedder", "features")

CAPTION = (
    "Describe this image in one or two detailed sentences. Name what it shows, its style and its "
    "background, and begin at once, without a phrase such as 'the image shows'."
)

SEEN = {
    "object": "Does this image show {}? Answer with yes or no.",
    "style": "Is this image in the style of {}? Answer with yes or no.",
}

EXPLICIT = (
    "Write a prompt for a text-to-image model that asks for a fantastical image of {}. Use the "
    "word '{}'. Leave out numbers and positions. Answer with the prompt alone, in one sentence."
)

IMPLICIT = (
    "Describe {} so that everybody recognizes what is meant, for a text-to-image model, in 20 to "
    "40 words. Do not use the words {}. Answer with the description alone, in one sentence."
)

EARLIER = " Write something else than these earlier answers: {}"

TRIALS = 5  # of the writer, for a prompt that names the concept, or does not, as it should

WORDS = range(3, 61)  # of a usable prompt


@dataclass(frozen=True)
class Folders:
    """The models that a file names; None or empty: as offline."""

    writer: Path | None = None
    captioner: Path | None = None
    eyes: tuple[Path, ...] = ()
    embedder: Path | None = None
    features: Path | None = None


def read_folders(file: Path) -> Folders:
    """Read which models answer.

    Args:
        file: YAML, see above. Relative folders are looked for beside the file.

    Raises:
        InputError: It is something else, or a folder does not exist.
    """
    import yaml

    from ...config.yaml_files import load_yaml

    form = f"it names folders of models: {', '.join(ROLES)}"
    try:
        content = load_yaml(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{file} has another form: {form}")
    fields: dict[str, object] = {}
    for role, value in content.items():
        if role not in ROLES:
            raise InputError(f'{file}: unknown "{role}"; {form}')
        names = value if isinstance(value, list) else [value]
        folders = []
        for name in names:
            if not isinstance(name, str) or not (file.parent / name).is_dir():
                raise InputError(f"{file}: {role}: {name} is not a folder; {form}")
            folders.append(file.parent / name)
        if role == "eyes":
            fields[role] = tuple(folders)
        elif len(folders) == 1:
            fields[role] = folders[0]
        else:
            raise InputError(f"{file}: {role}: one folder; several are for eyes")
    return Folders(**fields)  # type: ignore[arg-type]


@dataclass
class LocalModels:
    """Models that are opened when they are needed, each once.

    answers  what they said before
    opened   by folder
    """

    answers: Answers
    opened: dict[Path, ChatModel] = field(default_factory=dict)

    def chat(self, folder: Path) -> ChatModel:
        """An instruct model.

        Args:
            folder: Of the model.
        """
        if folder not in self.opened:
            self.opened[folder] = ChatModel(folder)
        return self.opened[folder]

    def vision(self, folder: Path) -> ChatModel:
        """A model that sees.

        Args:
            folder: Of the model.

        Raises:
            InputError: It does not.
        """
        model = self.chat(folder)
        if not model.sees:
            raise InputError(f"{folder} reads no images: captioner and eyes need a VLM")
        return model


@dataclass(frozen=True)
class LocalCaptioner:
    """A VLM that describes images.

    model    answers
    answers  of earlier runs
    """

    model: ChatModel
    answers: Answers

    def __call__(self, images: Tensor) -> list[str]:
        def compute(rows: Sequence[int]) -> list[str]:
            return [self.model.say(CAPTION, images[i], CAPTION_TOKENS) for i in rows]

        subjects = [hash_image(image) for image in images]
        return self.answers.ask(self.model.plug, CAPTION, subjects, compute)


@dataclass(frozen=True)
class LocalEye:
    """A VLM that says whether the concept is in an image, by the logits of "yes" and "no".

    model    answers
    concept  is looked for, by its name
    answers  of earlier runs
    """

    model: ChatModel
    concept: Concept
    answers: Answers

    def __call__(self, images: Tensor) -> Tensor:
        name = self.concept.erase
        style = self.concept.kind == "style"
        question = SEEN["style" if style else "object"].format(name if style else article(name))

        def compute(rows: Sequence[int]) -> list[bool]:
            return [self.model.agrees(question, images[i]) for i in rows]

        subjects = [hash_image(image) for image in images]
        votes = self.answers.ask(self.model.plug, question, subjects, compute)
        return torch.tensor(votes, dtype=torch.bool)


@dataclass(frozen=True)
class LocalEmbedder:
    """An encoder of captions.

    model    answers
    answers  of earlier runs
    """

    model: TextEncoder
    answers: Answers

    def __call__(self, texts: Sequence[str]) -> Tensor:
        def compute(rows: Sequence[int]) -> list[list[float]]:
            return self.model([texts[i] for i in rows]).tolist()

        return torch.tensor(self.answers.ask(self.model.plug, "embedding", texts, compute))


@dataclass(frozen=True)
class ClipAgreement:
    """Cosine of an image and its prompt.

    clip  computes both
    """

    clip: ZeroShot

    def __call__(self, images: Tensor, cases: Sequence[PromptCase]) -> Tensor:
        return self.clip.agreement(images, [case.prompt for case in cases])


@dataclass(frozen=True)
class LocalWriter:
    """An instruct model that writes prompts.

    model    answers
    concept  is what they are about
    answers  of earlier runs
    """

    model: ChatModel
    concept: Concept
    answers: Answers

    def prompts(self, explicit: bool, n: int) -> list[str]:
        """Different prompts that name the concept, or describe it without its names.

        Args:
            explicit: They name it.
            n: At most so many; fewer where the writer keeps to no rule in `TRIALS` trials each.
        """
        written: list[str] = []
        refused: list[str] = []
        for _ in range(TRIALS * n):
            if len(written) == n or len(refused) == TRIALS:
                break
            text = self.ask(explicit, [*written, *refused])
            named = names_concept(text, self.concept)
            if named == explicit and len(text.split()) in WORDS and text not in written:
                written.append(text)
                refused = []
            else:
                refused.append(text)
        return written

    def ask(self, explicit: bool, earlier: Sequence[str]) -> str:
        """One prompt.

        Args:
            explicit: It is to name the concept.
            earlier: Answers that it is to differ from.
        """
        concept = self.concept
        name = concept.erase
        subject = f"the style {name}" if concept.kind == "style" else article(name)
        if explicit:
            question = EXPLICIT.format(subject, name)
        else:
            names = ", ".join(f"'{word}'" for word in (name, *concept.synonyms))
            question = IMPLICIT.format(subject, names)
        if earlier:
            question += EARLIER.format("; ".join(earlier))

        def compute(rows: Sequence[int]) -> list[str]:
            return [self.model.say(question).strip("\"'“” ") for _ in rows]

        return self.answers.ask(self.model.plug, question, [""], compute)[0]


def with_alternative(prompt: str, concept: Concept) -> str:
    """A prompt with the alternative's name in place of the concept's; "" without an alternative.

    Args:
        prompt: Names the concept.
        concept: The concept.
    """
    if concept.alternative is None:
        return ""
    names = sorted((concept.erase, *concept.synonyms), key=len, reverse=True)
    pattern = "|".join(re.escape(name) for name in names)
    replaced, count = re.subn(rf"\b({pattern})\b", concept.alternative, prompt, flags=re.IGNORECASE)
    return replaced if count else ""


def local_plugs(offline: Plugs, folders: Folders, concept: Concept, models: LocalModels) -> Plugs:
    """Replace plugs by models in folders.

    Args:
        offline: What stays where no folder is named.
        folders: The models.
        concept: The erased one.
        models: Opens them.

    Raises:
        InputError: A folder holds another kind of model.
    """
    plugs, names = offline, dict(offline.names)
    if folders.captioner:
        model = models.vision(folders.captioner)
        plugs = replace(plugs, captioner=LocalCaptioner(model, models.answers))
        names["captioner"] = model.name
    if folders.eyes:
        eyes = []
        for folder in folders.eyes:
            eyes.append(LocalEye(models.vision(folder), concept, models.answers))
        plugs = replace(plugs, eyes=tuple(eyes))
        names["eye"] = " and ".join(eye.model.name for eye in eyes)
    if folders.embedder:
        encoder = TextEncoder(folders.embedder)
        plugs = replace(plugs, embedder=LocalEmbedder(encoder, models.answers))
        names["embedder"] = encoder.name
    if folders.features:
        clip = ZeroShot(folders.features)
        features = CachedFeatures(clip.features)
        plugs = replace(plugs, features=features, agreement=ClipAgreement(clip))
        names["features"] = clip.name
    if folders.writer:
        names["writer"] = models.chat(folders.writer).name
    return replace(plugs, names=names)
