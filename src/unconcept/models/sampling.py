"""How images are sampled, and the one place that samples them or reads them from the cache."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from . import image_cache
from .interface import Model, Sampling
from .offloading import is_offloading

__all__ = ["AppliedEdit", "ImageSampler", "Sampling", "has_forward_hooks"]


class AppliedEdit(Protocol):
    """What `ImageSampler` needs of an edit (edits.Edit)."""

    def on(self, model: Any) -> AbstractContextManager:
        """Inside the `with`, the edit is on the model.

        Args:
            model: The model whose tensors change meanwhile.
        """
        ...

    def fingerprint(self) -> str:
        """sha256 of the edit's numbers."""
        ...


class ImageSampler:
    """Samples images from one model, each once: what is in the cache is read from there.

    The cache identifies the model by its weights when the first images are sampled. Between two
    calls of `images` the model may be changed only if it is changed back, as `Edit.on` does.
    """

    def __init__(
        self,
        model: Model,
        sampling: Sampling | None = None,
        cache: Path | None = None,
        progress: ProgressCallback = no_progress,
        batch_size: int | None = None,
    ):
        """Bundle what the images of one run have in common.

        Args:
            model: The model to sample from.
            sampling: Steps, guidance, sampler; None: the defaults of `Sampling`.
            cache: Folder of cached images; None: every image is sampled.
            progress: Receives a report after every batch.
            batch_size: Images sampled at once; None: half of `model.max_batch`, because
                classifier-free guidance doubles the batch. It may change the last bit of an image.
        """
        self.model = model
        self.sampling = (sampling or Sampling()).resolve(model)
        self.cache = cache
        self.progress = progress
        self.batch_size = batch_size
        self._model_key: str | None = None

    def with_sampling(self, **changes: Any) -> "ImageSampler":
        """The same with another sampler, other steps or another guidance, as controls need it.

        Args:
            **changes: Fields of `Sampling` to replace.

        Returns:
            A new sampler on the same model, with the same cache.
        """
        other = ImageSampler(
            self.model,
            replace(self.sampling, **changes),
            self.cache,
            self.progress,
            self.batch_size,
        )
        other._model_key = self._model_key
        return other

    def images(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        edit: AppliedEdit | None = None,
        stage: str = "sampling",
    ) -> Tensor:
        """Sample one image per (prompt, seed).

        Args:
            prompts: N prompts.
            seeds: N seeds of the initial noise.
            edit: Put on the model while the images are sampled; None: the model as it is.
            stage: Name under which progress is reported.

        Returns:
            Images [N, 3, H, W] or clips [N, frames, 3, H, W] in [0, 1], rounded to 8 bits, on the
            CPU.
        """
        key = self.cache_key(edit)
        batch_size = self.batch_size or self.model.max_batch // 2
        frames = (self.model.frames,) if self.model.frames else ()
        batches = [torch.zeros(0, *frames, 3, 1, 1)] if not prompts else []
        with nullcontext() if edit is None else edit.on(self.model):
            for i in range(0, len(prompts), batch_size):
                start = Progress(stage, i, len(prompts))
                self.progress(start)
                batch = slice(i, i + batch_size)
                batches.append(self._batch(prompts[batch], seeds[batch], key, start))
        if prompts:
            self.progress(Progress(stage, len(prompts), len(prompts)))
        return torch.cat(batches)

    def _sample(self, prompts: Sequence[str], seeds: Sequence[int], start: Progress) -> Tensor:
        """Latents of a batch; progress is reported after every sampling step."""
        if self.progress is no_progress:
            return self.model.sample(prompts, seeds, self.sampling)
        latents, steps = torch.empty(0), self.sampling.steps
        trajectory = self.model.trajectory(prompts, seeds, self.sampling)
        for step, (latents, _) in enumerate(trajectory):  # noqa: B007  (the last are returned)
            self.progress(replace(start, part=len(prompts) * step / steps))
        return latents

    def _batch(
        self, prompts: Sequence[str], seeds: Sequence[int], key: str, start: Progress
    ) -> Tensor:
        """Sample a batch completely or read it completely.

        An image that is cached is never replaced, because in another batch its last bit may differ.
        So images depend neither on where an earlier run was interrupted nor on who sampled them.
        """
        files = []
        if self.cache and key:
            sampling = self.sampling
            for prompt, seed in zip(prompts, seeds):
                settings = (sampling.sampler, sampling.steps, sampling.guidance)
                files.append(self.cache / image_cache.file_name(key, prompt, seed, *settings))
        cached = [image_cache.read_image(file, self.model.frames) for file in files]
        present = [image for image in cached if image is not None]
        if files and len(present) == len(files):
            return torch.stack(present)
        latents = self._sample(prompts, seeds, start)
        images = (self.model.decode(latents).cpu() * 255).round() / 255
        for row, (file, image) in enumerate(zip(files, cached, strict=True)):
            if image is not None:
                images[row] = image
            elif images[row].isfinite().all():  # 8 bits would store NaN as black
                image_cache.write_image(file, images[row])
        return images

    def cache_key(self, edit: AppliedEdit | None = None) -> str:
        """Identify everything that images depend on besides prompt, seed and sampling.

        Args:
            edit: The edit that is to be on the model.

        Returns:
            The model's `image_cache_key`, followed by the edit's fingerprint; "" where images are
            not cached: without a folder, and where a forward hook (such as an adapter of an applied
            edit) changes what weights alone would give.
        """
        if not self.cache:
            return ""
        if self._model_key is None:
            self._model_key = "" if has_forward_hooks(self.model) else self.model.image_cache_key()
        if not self._model_key or edit is None:
            return self._model_key
        return self._model_key + edit.fingerprint()


def has_forward_hooks(model: Model) -> bool:
    """Does a forward hook change the output of a module? Weights alone do not say then.

    Args:
        model: Its denoiser and text encoders are searched. Hooks of `offload`, which change
            nothing, do not count.
    """
    modules = [module for component in model.components.values() for module in component.modules()]
    hooks = [hook for module in modules for hook in module._forward_hooks.values()]
    return not all(is_offloading(hook) for hook in hooks)
