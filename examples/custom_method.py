"""A method of your own: a frozen dataclass, called with a model and concepts, returns an Edit.

This one maps the concept's last token to the alternative's in every key and value matrix
(UCE for one token, without preservation).

python examples/custom_method.py
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from unconcept import Concept, Edit, InputError, load


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """W ← W + s W (a − c) cᵀ / ‖c‖²,      c, a: token states of concept and alternative [width]."""

    strength: float = 1.0

    @torch.no_grad()
    def __call__(self, model, *concepts: Concept, **callbacks) -> Edit:
        deltas = {}
        for site in model.weight_group("cross-attention keys and values"):
            owner, parameter = site.find(model.components)
            W = getattr(owner, parameter).float()
            deltas[site.name] = sum(self.delta(model, concept, W) for concept in concepts)
        card = {
            "method": "redirect",
            "settings": asdict(self),
            "concepts": [asdict(concept) for concept in concepts],
        }
        return Edit(deltas, {**card, "model_sha256": model.fingerprint()})

    def delta(self, model, concept: Concept, W: torch.Tensor) -> torch.Tensor:
        """The change of one matrix [out, width]."""
        if concept.alternative is None:
            raise InputError("Redirect needs an alternative (--to)")
        c = self.last_state(model, concept.erase)
        a = self.last_state(model, concept.alternative)
        return self.strength * torch.outer(W @ (a - c), c) / c.square().sum()

    def last_state(self, model, words: str) -> torch.Tensor:
        """The state of the last token of `words` [width]."""
        states = model.encode([words])[model.prompt_states_key]
        return states[0, int(model.last_token_index([words])[0])].float()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--out", type=Path, default=Path("unconcept-out/redirected.safetensors"))
    options = parser.parse_args(arguments)

    edit = Redirect()(load(options.model), Concept(erase="pig", alternative="cow"))
    edit.save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()
