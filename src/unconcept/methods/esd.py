"""ESD: erased Stable Diffusion.

Source      Gandikota, Materzyńska, Fiotto-Kaufman, Bau. ICCV 2023, arXiv 2303.07345; code rohitgandikota/erasing.
Idea        Steer away from the concept: what classifier-free guidance adds for it, the student shall subtract.
Equation    L(θ) = E ‖ε_θ(x,c) − [ε*(x,∅) − η g*(x,c)]‖²,      g*(x,c) = ε*(x,c) − ε*(x,∅)
            `form` "newer", of the authors' newer code:     ε_θ(x,c) → ε*(x,c) − η g*(x,c):  its η is the paper's and one more
            with `erase_from` f, to take c out of f alone:  ε_θ(x,f) → ε*(x,f) − η g*(x,c),  in both forms
Cost        Half a guided trajectory for every training step, then two calls of the teacher (three with `erase_from`), one forward and backward.
Problems    Nothing holds ε_θ(·,∅), which guidance multiplies by 1 − s in every picture; no alternative can be chosen.
Differs     x_t is met at its own t of the sampler's grid, as in the newer code; the older draws t anew, within the part of the schedule that the
            sampler's step stands for. The sampler is the family's own (DDIM, as in the older); the newer takes the pipeline's, PNDM for 1.4.
            A concept's synonyms are erased by turns, as the older code does with a list; the newer knows one name.
            Its defaults are others: 200 steps at 5e-5 (of XL 2e-4), in half precision, of pictures of 1,024 pixels. Its esd-u has the layers
            of time and output, too, but norms in none of its variants; ours is the older's.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..callbacks import ProgressCallback
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..errors import InputError
from ..models.interface import Condition, Model
from ..training.online_trainer import train_online
from ..training.replay import sample_point
from ..training.replay_trainer import Student

VARIANTS = {
    "x": "cross-attention",
    "u": "all but cross-attention",
    "x-strict": "cross-attention keys and values",
    "full": "all",
}


@dataclass(frozen=True, kw_only=True)
class ESD:
    """Defaults are those of the authors' older code for esd-x.

    group       "x": all of the cross-attention, for what a word names, an artist's style; "u": everything else but the layers of time and output,
                for what comes without its word, as nudity does; "x-strict": keys and values of the cross-attention alone; "full": everything.
                Or any other weight group (docs/models.md)
    form        what η g* is taken off: "paper", ε*(x,∅), or "newer", ε*(x,c)
    eta         η. The authors' is 1 in the paper's form, 2 in the newer one for Stable Diffusion, which is the same, and 1 for XL, which is η = 0
    erase_from  what the concept is taken out of, as in erasing "hat" from "cowboy": the pictures of this prompt change. None: everything
    walk        who samples x_t: the student (the paper and the older code) or the frozen teacher (the newer code)
    """

    eta: float = 1.0
    form: Literal["paper", "newer"] = "paper"
    erase_from: str | None = None
    walk: Literal["student", "teacher"] = "student"
    group: str = "x"
    steps: int = 1000
    lr: float = 1e-5
    sampling_steps: int = 50
    guidance: float = 3.0
    seed: int = 0

    def __post_init__(self):
        if self.walk not in ("student", "teacher"):
            raise InputError(f'walk is "{self.walk}": student or teacher')
        if self.form not in ("paper", "newer"):
            raise InputError(f'form is "{self.form}": paper or newer')

    def loss(self, student: Student, x: Tensor, t: Tensor, c: Condition, teacher_f: Tensor, g: Tensor) -> Tensor:
        """c: what the student is asked, the concept or f; teacher_f: ε*(x,∅), ε*(x,c) or ε*(x,f); g: g*(x,c), all [N, C, H, W]."""
        return (student(x, t, c) - (teacher_f - self.eta * g)).square().mean()

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """Erase the concepts, one name drawn for each step. An alternative is not used: the method has no place for it."""
        names = [name for concept in concepts for name in (concept.erase, *concept.synonyms)]

        def draw(step: int, on: Callable[[], AbstractContextManager], generator: torch.Generator):
            name = names[int(torch.randint(len(names), (), generator=generator))]
            asked, walker = self.erase_from or name, on if self.walk == "student" else None
            x, t = sample_point(model, [asked], walker, generator, steps=self.sampling_steps, guidance=self.guidance)
            c, null, student_c = model.encode([name]), model.encode([""]), model.encode([asked])
            with torch.no_grad():
                teacher_c, teacher_null = model.predict(x, t, c), model.predict(x, t, null)
                teacher_f = teacher_null if self.form == "paper" else teacher_c
                if self.erase_from is not None:
                    teacher_f = model.predict(x, t, student_c)
            return x, t, student_c, teacher_f, teacher_c - teacher_null

        card = make_card("esd", self, concepts, model)
        group = VARIANTS.get(self.group, self.group)
        return train_online(model, group, draw, self.loss, steps=self.steps, lr=self.lr, seed=self.seed, card=card, progress=progress)
