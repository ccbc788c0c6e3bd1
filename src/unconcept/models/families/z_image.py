"""Z-Image: one stream of words and picture, time that runs the other way, and a sign to go with it."""

from collections.abc import Sequence

import torch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from torch import Tensor

from ..interface import Condition
from ..joint_attention import JointModel
from ..llm_text_encoder import Chat
from ..pipeline_model import STATES

MASK, NORMED = "mask", "normed"  # [N, tokens]: which tokens there are; and the token states behind the embedder's norm

# Words are alone in the context refiner, before they join the picture's stream.
GROUPS = {
    "cross-attention keys and values": lambda path: (
        path.startswith("context_refiner.") and path.endswith(("attention.to_k.weight", "attention.to_v.weight"))
    ),
    "cross-attention": lambda path: path.startswith("context_refiner.") and ".attention.to_" in path,
    **dict.fromkeys(("context embedder", "prompt embedders"), lambda path: path == "cap_embedder.1.weight"),
    "self-attention": lambda path: path.startswith("layers.") and ".attention.to_" in path,
    "attention blocks": lambda path: path.startswith("layers.") and path.endswith(".weight") and "norm" not in path,
    "all but cross-attention": lambda path: not path.startswith(("context_refiner.", "cap_embedder.", "all_final_layer.", "t_embedder.")),
    "all": lambda path: True,
}

READERS = {NORMED: GROUPS["context embedder"]}


class ZImage(Chat, JointModel):
    """The `Model` around a ZImagePipeline. Its transformer is told (1000 − t) / 1000 and answers x_0 − n; here t and v are as in flow.py.

    The pipeline's `guidance_scale` g stands for c + g (c − u); ours is s = g + 1. Turbo is made for g = 0, that is s = 1.
    """

    family = "z-image"
    encoders = ("text_encoder",)
    evenly = True
    groups = GROUPS
    readers = READERS

    def usual_guidance(self, called: str = "guidance_scale") -> float:
        return super().usual_guidance(called) + 1

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, ZImagePipeline)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of pictures of 1,024 pixels, as the pipeline has it where nothing else is said."""
        side = getattr(self.pipe, "default_sample_size", 1024 // self.pipe.vae_scale_factor)
        return self.denoiser.in_channels, side, side

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The language model's last but one hidden states, padded with zeros, and which of them there are."""
        if self.device.type == "meta":
            return dict(zip((STATES, MASK), self.longest(len(prompts), self.denoiser.cap_embedder[1].in_features)))
        self.warn_of_cuts(prompts)
        states, _ = self.pipe.encode_prompt(list(prompts), device=self.device, do_classifier_free_guidance=False)
        padded = torch.stack([torch.cat([s, s.new_zeros(self.limit - len(s), s.shape[1])]) for s in states])
        mask = torch.stack([torch.arange(self.limit) < len(s) for s in states])
        return {STATES: padded.to(self.dtype), MASK: mask.to(self.device)}

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        return self.denoiser.cap_embedder[0](condition[STATES]) if name == NORMED else condition[name]

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        states, mask = condition[STATES], condition[MASK]
        words = list(states) if mask.is_meta else [own[there] for own, there in zip(states, mask)]
        return -torch.stack(self.pipe.transformer(list(x.unsqueeze(2)), 1 - t / self.timesteps, words, return_dict=False)[0]).squeeze(2)
