"""ESD: erased Stable Diffusion.

Source      Gandikota, Materzyńska, Fiotto-Kaufman, Bau. ICCV 2023, arXiv 2303.07345;
            code rohitgandikota/erasing.
Idea        Steer away from the concept: the student subtracts what guidance adds for it.
Equation    L(θ) = E ‖ε_θ(x,c) − [ε*(x,∅) − η g*(x,c)]‖²,      g*(x,c) = ε*(x,c) − ε*(x,∅)
            `form` "newer", of the authors' newer code:     ε_θ(x,c) → ε*(x,c) − η g*(x,c)
            (its η is the paper's plus 1)
            `erase_from` f, to take c out of f alone:       ε_θ(x,f) → ε*(x,f) − η g*(x,c)
Cost        Half a guided trajectory for every step, two calls of the teacher (three with
            `erase_from`), one forward and backward pass.
Problems    Nothing preserves ε_θ(·,∅), which guidance multiplies by 1 − s in every image. No
            alternative can be chosen.
Differences from the official code
            x_t keeps its own t of the sampler's grid, as in the newer code; the older one draws t
            anew within the part of the schedule that the sampler's step covers. The sampler is the
            family's own (DDIM, as in the older code); the newer one uses the pipeline's, which is
            PNDM for 1.4.
            A concept's synonyms are erased in turn, as the older code does with a list; the newer
            one takes one name.
            Defaults of the newer code differ: 200 steps at 5e-5 (2e-4 for XL), in half precision,
            on images of 1,024 pixels. Its esd-u contains the layers of time and output but norms in
            none of its variants; ours is the older one's.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..errors import InputError
from ..models.interface import Condition, Model
from ..training.online_trainer import OnlineTraining, StudentContext, train_online
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

    eta         η. The authors use 1 in the paper's form, 2 in the newer one for Stable Diffusion,
                which is the same, and 1 for XL, which is η = 0 of the paper's form
    form        what η g* is subtracted from: "paper", ε*(x,∅), or "newer", ε*(x,c)
    erase_from  prompt that the concept is taken out of, for example "cowboy" to erase "hat" there:
                images of this prompt change. None: the concept is erased everywhere
    walk        who samples x_t: the student (the paper and the older code) or the frozen teacher
                (the newer code)
    group       "x": cross-attention, for what a word names, such as an artist's style; "u":
                everything except cross-attention and the layers of time and output, for what
                appears without its word, such as nudity; "x-strict": keys and values of the
                cross-attention; "full": everything. Or any other weight group
                (docs/reference/models.md)
    sampling_steps, guidance   of the trajectories
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
            raise InputError(f'walk is "{self.walk}": it must be student or teacher')
        if self.form not in ("paper", "newer"):
            raise InputError(f'form is "{self.form}": it must be paper or newer')

    def loss(
        self, student: Student, x: Tensor, t: Tensor, c: Condition, teacher_f: Tensor, g: Tensor
    ) -> Tensor:
        """L(θ) of the module's docstring.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            c: Condition of the student's prompt, N rows: the concept, or f with `erase_from`.
            teacher_f: What η g* is subtracted from, ε*(x,∅), ε*(x,c) or ε*(x,f) [N, C, H, W].
            g: g*(x,c), the teacher's guidance of the concept [N, C, H, W].

        Returns:
            A scalar.
        """
        return (student(x, t, c) - (teacher_f - self.eta * g)).square().mean()

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Erase the concepts; a name is drawn for each step. The alternative is not used."""
        concepts = model.complete(concepts)
        names = [name for concept in concepts for name in (concept.erase, *concept.synonyms)]

        def draw(step: int, student: StudentContext, generator: torch.Generator) -> tuple:
            name = names[int(torch.randint(len(names), (), generator=generator))]
            prompt = self.erase_from or name
            x, t = sample_point(
                model,
                [prompt],
                student if self.walk == "student" else None,
                generator,
                steps=self.sampling_steps,
                guidance=self.guidance,
            )
            c, null, student_c = model.encode([name]), model.encode([""]), model.encode([prompt])
            with torch.no_grad():
                teacher_c, teacher_null = model.predict(x, t, c), model.predict(x, t, null)
                teacher_f = teacher_null if self.form == "paper" else teacher_c
                if self.erase_from is not None:
                    teacher_f = model.predict(x, t, student_c)
            return x, t, student_c, teacher_f, teacher_c - teacher_null

        group = VARIANTS.get(self.group, self.group)
        training = OnlineTraining(group=group, steps=self.steps, lr=self.lr, seed=self.seed)
        card = make_card("esd", self, concepts, model)
        return train_online(model, draw, self.loss, training, card=card, progress=progress)
