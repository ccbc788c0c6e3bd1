"""Interpret then Deactivate: a sparse autoencoder as a zero-shot classifier in the text encoder.

Source      Tian, Nan et al. 2025, arXiv 2503.09446 (ItD); code NANSirun/Interpret-then-deactivate. Autoencoder: Gao et al. 2024, arXiv 2406.04093.
Idea        Learn once which features prompts are made of. The concept's own features, and those alone, are turned down where a prompt has them.
Equation    z = ReLU(TopK_k(W_e (h − b) + β)),   h ≈ W_d z + b        h: the text encoder's residual stream after a layer [tokens, width]
            z'_F = −τ z_F,  z' = z elsewhere;    h ← h + s W_d (z' − z)   where   mean (W_d (z' − z))² ≥ θ,   else h stays
            F: strongest features of the concept's prompts without those of any other prompt;  θ: .99 of the least score of the concept's prompts
Cost        One autoencoder for a model, minutes, kept in the cache; a new concept costs one pass of the text encoder over some prompts.
Problems    It knows what the prompts it was trained on say. No alternative can be chosen. It guards the prompt, not the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..adapters import SparseAutoencoder, frozen
from ..checkpoint import surviving
from ..concept import Concept, kept
from ..edit import Edit, card_of, identity
from ..errors import InputError
from ..files import open_safetensors, write_safetensors
from ..models.base import Model
from ..train import Progress, Report


@dataclass(frozen=True, kw_only=True)
class SAE:
    """features and active are n and k of the autoencoder; the authors' 524,288 and 64 are for a vocabulary far larger than a small model's.

    strength   τ
    top        how many of the strongest features of a prompt are looked at, of the concept's and of the others
    steps, lr  of the autoencoder's training, `batch` prompts each
    cache      a folder for trained autoencoders; None: it is trained anew
    Where the authors put the reconstruction in the place of h, ours adds the difference alone: a prompt without the concept is left bit for bit.
    """

    features: int = 4096
    active: int = 16
    strength: float = 8.0
    top: int = 16
    steps: int = 1500
    lr: float = 1e-3
    batch: int = 64
    cache: str | None = None
    seed: int = 0

    def __call__(self, model: Model, *concepts: Concept, report: Report = lambda progress: None) -> Edit:
        """Deactivate the concepts. An alternative is not used."""
        targets = [c for concept in concepts for c, _ in concept.pairs()]
        others = ["", *kept(concepts, model.vocabulary)]
        site = model.text_layer()
        sae = self.autoencoder(model, [*others, *targets], report)
        report(Progress("finding the concept's features", 0, 1))
        mine, theirs = (strongest(sae, model.hidden(prompts), self.top) for prompts in (targets, others))
        chosen = sorted(mine - theirs)
        if not chosen:
            raise InputError("the concept has no feature of its own: name fewer synonyms, or raise `top` or `features`")
        sae.features = torch.tensor(chosen)
        sae.scale = torch.tensor(-self.strength)
        score = sae.score(model.hidden(targets))
        sae.threshold = 0.99 * score[score > 0].min() if (score > 0).any() else torch.tensor(0.0)
        card = card_of("sae", self, concepts, model)
        return Edit({}, {**card, **identity(model), "features": len(chosen)}, {site: frozen(sae.kind, sae.state_dict())})

    def autoencoder(self, model: Model, prompts: Sequence[str], report: Report) -> SparseAutoencoder:
        """The model's autoencoder out of the cache, or trained on the hidden states of `prompts`."""
        name = f"sae-{model.fingerprint()[:16]}-{self.features}-{self.active}-{self.steps}-{self.seed}.safetensors"
        file = Path(self.cache) / name if self.cache else None
        if file and file.exists():
            return SparseAutoencoder.of(open_safetensors(file)[0]).to(model.device)
        sae = self.train(model.hidden(prompts)[:, 1:].flatten(0, 1), report)
        if file:
            write_safetensors(sae.state_dict(), file, {})
        return sae

    def train(self, h: Tensor, report: Report) -> SparseAutoencoder:
        """Least squares with k active features; columns of the decoder stay on the unit sphere; features that never fire learn the rest.

        h [N, width]
        """
        generator = torch.Generator().manual_seed(self.seed)
        sae = SparseAutoencoder.begin(h.cpu(), self.features, self.active, generator).to(h.device)
        weights = [sae.encoder, sae.latent, sae.decoder, sae.centre]
        for w in weights:
            w.requires_grad_(True)
        optimizer = torch.optim.Adam(weights, lr=self.lr, eps=1e-8)
        spread, silent = h.var(0).sum(), torch.zeros(self.features, dtype=torch.long, device=h.device)
        for step in surviving(self.steps, optimizer, generator, {"silent": silent}):
            x = h[torch.randint(len(h), (self.batch * 8,), generator=generator)]
            before = sae.before(x)
            z = sae.sparse(before)
            rest = x - sae.decode(z)
            loss = rest.square().sum(1).mean() / spread
            dead = silent > 200
            if int(dead.sum()) > self.active:
                woken = torch.where(dead, before, -torch.inf)
                loss = loss + (rest.detach() - sae.sparse(woken) @ sae.decoder.T).square().sum(1).mean() / spread / 32
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                sae.decoder /= sae.decoder.norm(dim=0, keepdim=True)
                silent.add_(1).masked_fill_((z > 0).any(0), 0)
            report(Progress("the sparse autoencoder, once for this model", step, self.steps, loss.item(), None))
        for w in weights:
            w.requires_grad_(False)
        return sae


def strongest(sae: SparseAutoencoder, hidden: Tensor, top: int) -> set[int]:
    """The `top` features of each prompt [N, tokens, width], by the largest value at any token but the first; all of them together.

    Padding counts: what a prompt says stands in the states behind it, too.
    """
    found: set[int] = set()
    for h in hidden:
        values, features = sae.sparse(sae.before(h[1:])).amax(0).topk(top)
        found |= set(features[values > 0].tolist())
    return found
