"""A judge that was trained on images and their captions: CLIP, SigLIP or SigLIP 2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..concepts.templates import article
from ..errors import InputError
from ..io.hub_access import is_out_of_reach, reason_of
from ..io.weights import check_safetensors
from ..models.devices import default_device
from .features import CachedFeatures

MODEL_TYPES = ("clip", "siglip", "siglip2")  # as config.json calls them

ALTERNATIVES = (
    '--judge takes the folder or the Hub id of a CLIP or SigLIP model, "imagenet" or "nudenet"'
)


class ImageEncoder:
    """The half of a model that reads images; a feature space (`features.Features`)."""

    def __init__(self, name: str, model: Any, processor: Any):
        self.name = name
        self.model = model
        self.processor = processor

    @torch.no_grad()
    def __call__(self, images: Tensor, batch: int = 32) -> Tensor:
        """Unit features of images, prepared as the model's own processor does.

        Args:
            images: [N, 3, H, W] in [0, 1].
            batch: Images per forward pass.

        Returns:
            [N, D] on the CPU.
        """
        features = []
        for some in images.split(batch):
            pixels = (some * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            inputs = self.processor.image_processor(list(pixels), return_tensors="pt")
            inputs = {name: value.to(default_device()) for name, value in inputs.items()}
            features.append(self.model.get_image_features(**inputs).pooler_output)
        return normalize(torch.cat(features).float(), dim=1).cpu()


class ZeroShot:
    """Zero-shot classification by the similarity of an image and "a photo of a NAME".

    CLIP (Radford et al. 2021, §3.1) was trained to choose among captions: the probabilities are the
    softmax of s cos(image, caption) over the names. SigLIP (Zhai et al. 2023, eq. 1) was trained to
    accept or refuse each caption on its own: they are sigmoid(s cos(image, caption) + b), of each
    name by itself, and need not sum to 1. s and b are the model's.
    """

    def __init__(self, source: str | Path):
        """Open a model.

        Args:
            source: Its folder in transformers' layout with safetensors weights, or its Hub id.

        Raises:
            InputError: It is neither a CLIP nor a SigLIP, or cannot be opened.
        """
        path = Path(source)
        self.name = path.name if path.is_dir() else str(source)
        self.model, self.processor = open_model(source)
        torch.nn.Module.to(self.model, default_device())
        self.features = CachedFeatures(ImageEncoder(self.name, self.model, self.processor))

    @property
    def bias(self) -> Tensor | None:
        """b of SigLIP; None for CLIP."""
        return getattr(self.model, "logit_bias", None)

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit features of images [N, 3, H, W] in [0, 1]: [N, D] on the CPU, computed once.

        Args:
            images: Of any size; the model's own processor resizes them.
        """
        return self.features(images)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features of texts: [N, D] on the CPU.

        Args:
            texts: N captions; what is longer than the text encoder reads is cut off.
        """
        if self.bias is None:
            tokens = self.processor.tokenizer(
                list(texts), padding=True, truncation=True, return_tensors="pt"
            )
            names = ("input_ids", "attention_mask")
        else:  # it was trained on small letters, and on padding that is not masked
            tokens = self.processor.tokenizer(
                [text.lower() for text in texts],
                padding="max_length",
                truncation=True,
                max_length=self.model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            )
            names = ("input_ids",)
        inputs = {name: tokens[name].to(default_device()) for name in names}
        pooled = self.model.get_text_features(**inputs).pooler_output
        return normalize(pooled.float(), dim=1).cpu()

    def __call__(self, images: Tensor, names: Sequence[str]) -> Tensor:
        """Probabilities of names.

        Args:
            images: [N, 3, H, W] in [0, 1].
            names: What the images may show.

        Returns:
            [N, len(names)] in [0, 1].
        """
        captions = [f"a photo of {article(name)}" for name in names]
        cosine = self.embed_images(images) @ self.embed_texts(captions).T
        logits = self.model.logit_scale.detach().float().exp().cpu() * cosine
        if self.bias is None:
            return logits.softmax(1)
        return (logits + self.bias.detach().float().cpu()).sigmoid()

    def agreement(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The raw score of CLIP or SigLIP: neither scaled nor clipped.

        Args:
            images: [N, 3, H, W] in [0, 1].
            prompts: N prompts.

        Returns:
            Cosine of each image with its prompt [N] in [-1, 1].
        """
        return (self.embed_images(images) * self.embed_texts(prompts)).sum(1)


def open_model(source: str | Path) -> tuple[Any, Any]:
    """Open a CLIP or a SigLIP. No code of a folder or repository is run.

    Args:
        source: Folder or Hub id.

    Returns:
        (the model in fp32, its processor)

    Raises:
        InputError: It is something else, is not complete, or cannot be opened.
    """
    from transformers import AutoConfig, AutoModel, AutoProcessor

    path = Path(source)
    if path.exists() or str(source).count("/") != 1:
        check_judge_folder(path)
    options: dict[str, Any] = {"local_files_only": path.is_dir(), "trust_remote_code": False}
    try:
        kind = AutoConfig.from_pretrained(source, **options).model_type
        if kind not in MODEL_TYPES:
            raise InputError(f"{source} is not a CLIP or SigLIP model but a {kind}: {ALTERNATIVES}")
        model, loaded = AutoModel.from_pretrained(
            source,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
        processor = AutoProcessor.from_pretrained(source, **options)
    except InputError:
        raise
    except Exception as error:  # transformers raises many kinds of errors for a broken folder
        if not path.is_dir() and is_out_of_reach(error):
            raise InputError(
                f"the judge {source} is not a folder here, and the hub is out of reach: "
                f"{ALTERNATIVES}"
            ) from error
        raise InputError(
            f"the CLIP or SigLIP model in {source} cannot be opened: {reason_of(error)}"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        raise InputError(
            f"the CLIP or SigLIP model in {source} is not complete: its weights have no "
            f"{missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        )
    return model.eval().requires_grad_(False), processor


def check_judge_folder(folder: Path) -> None:
    """Check what is missing in a judge's folder, before transformers says it in many lines.

    Args:
        folder: Of the model.

    Raises:
        InputError: It is not such a folder, or its weights are damaged.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} does not contain a CLIP or SigLIP model: {ALTERNATIVES}")
    for file in sorted(folder.glob("*.safetensors")):
        check_safetensors(file)
