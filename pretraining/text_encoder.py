"""Stage 4: the text encoder.

Stable Diffusion's CLIPTextModel in small, taught to read before the denoiser listens to it.

Real text encoders come out of a contrastive training on captioned pictures. Ours has labelled ones,
so it learns from the captions alone: which objects, which one on which side, which style, which
background. It is then held fixed, as Stable Diffusion's is.

The sides are read as the denoiser will read them: by attention over all tokens, with one query for
each half of the picture. A causal encoder's first noun cannot know on which side it will stand;
only later tokens can say, and nothing else makes them say it plainly.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from unconcept.models.emoji.vocabulary import COLOURS, OBJECTS, STYLES

from .captions import COLOUR_NAMES, caption
from .checkpoint import Checkpoint, cosine
from .dataset import draw_label
from .excluded import NOTHING, Excluded
from .tokenizer import LENGTH

WIDTH = 128
HEADS = {
    "objects": len(OBJECTS),
    "style": len(STYLES) + 1,
    "colour": len(COLOURS) + 1,
}  # + 1: not said


def build(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids [N, 32], padded and cut as Stable Diffusion's pipeline does."""
    return tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids


class Sides(nn.Module):
    """Text states [N, T, WIDTH] -> which object stands on the left and which on the right [N, 2,
    objects].
    """

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.name = nn.Linear(WIDTH, len(OBJECTS))

    def forward(self, states: Tensor) -> Tensor:
        return self.name(
            self.attention(
                self.queries.expand(len(states), -1, -1), states, states, need_weights=False
            )[0]
        )


def targets(label: np.void, text: str) -> tuple[int, int, int, int]:
    """(left object, right object or the same, style, colour); the last index of the latter two
    means "not said".
    """
    a, b = int(label["a"]), int(label["b"])
    style = STYLES[label["style"]]
    return (
        a,
        b if b >= 0 else a,
        int(label["style"]) if style in text else len(STYLES),
        next(
            (i for i, colour in enumerate(COLOUR_NAMES) if f"{colour} background" in text),
            len(COLOURS),
        ),
    )


def train(
    work: Path,
    tokenizer: CLIPTokenizer,
    steps: int,
    batch: int = 192,
    lr: float = 1e-3,
    excluded: Excluded = NOTHING,
) -> CLIPTextModel:
    torch.manual_seed(0)
    text = build(tokenizer)
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in HEADS.items()})
    sides = Sides()
    optimizer = torch.optim.AdamW(
        [*text.parameters(), *heads.parameters(), *sides.parameters()], lr=lr, weight_decay=1e-2
    )
    checkpoint = Checkpoint(
        work / "text.pt", text=text, heads=heads, sides=sides, optimizer=optimizer
    )
    ce = nn.functional.cross_entropy
    for step in range(checkpoint.step, steps):
        rng = np.random.default_rng([2, step])
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(step, steps, warmup=100)
        labels = [draw_label(rng, excluded) for _ in range(batch)]
        texts = [caption(label, rng) for label in labels]
        a, b, style, colour = torch.tensor(
            [targets(label, t) for label, t in zip(labels, texts)]
        ).unbind(1)
        ids = tokenize(tokenizer, texts)
        states = text(ids).last_hidden_state
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        placed = sides(states).flatten(0, 1)
        loss = ce(placed, torch.stack((a, b), 1).flatten())
        # Read at the end token and once more from all tokens together: the denoiser's attention may
        # look anywhere.
        for h in (states[torch.arange(batch), end], states.mean(1)):
            said = {name: head(h) for name, head in heads.items()}
            loss = loss + 0.5 * (ce(said["objects"], a) + ce(said["objects"], b))
            loss = loss + ce(said["style"], style) + ce(said["colour"], colour)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 100 == 99 or step == steps - 1:
            hit = placed.argmax(1).view(-1, 2) == torch.stack((a, b), 1)
            hit = hit[a != b].float().mean()
            print(
                f"text {step + 1}/{steps} loss {loss:.3f} scenes {hit:.2f}",
                file=sys.stderr,
                flush=True,
            )
        if step % 100 == 99 or step == steps - 1 or checkpoint.is_old():
            checkpoint.save(step + 1)
    return text.eval().requires_grad_(False)
