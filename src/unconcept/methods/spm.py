"""SPM: one-dimensional adapters with latent anchoring.

Source      Lyu, Yang, Hong, Chen, Jin, He, Xue, Han, Ding. CVPR 2024, arXiv 2312.16145; code Con6924/SPM.
Idea        Rank-one changes are enough to push a concept away, if random points of the prompt space are nailed down meanwhile.
Equation    L(θ) = E ‖ε_θ(x,c) − [ε*(x,n) − η (ε*(x,c) − ε*(x,n))]‖² + λ E ‖ε_θ(x,r) − ε*(x,r)‖²
            n: the alternative, or ∅;   r: states in a random direction, as long as c's, kept with probability 1 − cos(r, c)
Cost        A guided trajectory for every step, two calls of the teacher and one for every anchor, one forward and backward of 1 + `anchors` predictions.
Problems    Slow: 3,000 steps. The anchors are anywhere but where prompts are. Their prompt-dependent strength at inference is not part of this.
Differs     The learning rate is the same in all steps; theirs rises for 500, and falls and begins again three times. AdamW in single precision and
            without weight decay for AdamW in 8 bits with its own. D begins by a normal distribution, theirs by a uniform one.
            Every anchor is a random state; theirs puts ∅ before each and takes the second half of all, so that two of its four are ∅.
            x_t is met at its own t of the sampler's grid, the noise itself among them; theirs begins behind the first step, and takes t of 1,000.
            Pictures are of the model's own size, theirs of sizes by chance (dynamic_resolution). The pooled state of an anchor is the concept's own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..callbacks import ProgressCallback
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..models.conditioning import join
from ..models.interface import Condition, Model
from ..training.online_trainer import train_online
from ..training.replay import sample_point
from ..training.replay_trainer import Student


@dataclass(frozen=True, kw_only=True)
class SPM:
    """Defaults are the authors'. lam: λ; anchors: how many r a step."""

    eta: float = 1.0
    lam: float = 1000.0
    anchors: int = 4
    rank: int = 1
    group: str = "attention blocks"
    steps: int = 3000
    lr: float = 1e-4
    sampling_steps: int = 30
    guidance: float = 3.0
    seed: int = 0

    def loss(self, student: Student, x: Tensor, t: Tensor, c: Condition, r: Condition, target: Tensor, said: Tensor) -> Tensor:
        """target: ε*(x,n) − η (ε*(x,c) − ε*(x,n)) [1, C, H, W]; said: ε*(x,r) [anchors, C, H, W]."""
        rows = 1 + len(said)
        ε = student(x.expand(rows, -1, -1, -1), t.expand(rows), join(c, r))
        return (ε[:1] - target).square().mean() + self.lam * (ε[1:] - said).square().mean()

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """Push the concepts away, one name drawn for each step, towards its alternative where it has one."""
        pairs = [(name, concept.alternative or "") for concept in concepts for name in (concept.erase, *concept.synonyms)]

        def draw(step: int, on: Callable[[], AbstractContextManager], generator: torch.Generator):
            name, instead = pairs[int(torch.randint(len(pairs), (), generator=generator))]
            x, t = sample_point(model, [name], on, generator, steps=self.sampling_steps, guidance=self.guidance)
            c, n = model.encode([name]), model.encode([instead])
            r = {name: value.expand(self.anchors, *value.shape[1:]) for name, value in c.items()}
            r[model.prompt_states_key] = around(c[model.prompt_states_key], self.anchors, generator)
            with torch.no_grad():
                asked, neutral = model.predict(x, t, c), model.predict(x, t, n)
                said = model.predict(x.expand(self.anchors, -1, -1, -1), t.expand(self.anchors), r)
            return x, t, c, r, neutral - self.eta * (asked - neutral), said

        card = make_card("spm", self, concepts, model)
        return train_online(
            model, self.group, draw, self.loss, steps=self.steps, lr=self.lr, seed=self.seed, rank=self.rank, card=card, progress=progress
        )


def around(c: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n states [n, tokens, width] in random directions, 0.8 to 1.2 times as long as c [1, tokens, width]; the more alike, the likelier it is dropped."""
    found: list[Tensor] = []
    while len(found) < n:
        r = torch.randn(c.shape, generator=generator).to(c)
        cosine = float(cosine_similarity(r.flatten(), c.flatten(), dim=0))
        if float(torch.rand((), generator=generator)) < 1 - cosine:
            length = c.norm() * (0.8 + 0.4 * float(torch.rand((), generator=generator)))
            found.append(r / r.norm() * length)
    return torch.cat(found)
