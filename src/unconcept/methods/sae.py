"""Interpret then Deactivate: a sparse autoencoder as a zero-shot classifier in the text encoder.

Source      Tian, Nan et al. 2025, arXiv 2503.09446 (ItD); code NANSirun/Interpret-then-deactivate. Autoencoder: Gao et al. 2024, arXiv 2406.04093.
Idea        Learn once which features prompts are made of. The concept's own features, and those alone, are turned down where a prompt has them.
Equation    z = ReLU(TopK_k(W_e (h − b) + β)),   h ≈ ĥ = W_d z + b        h: the text encoder's residual stream after a layer [tokens, width]
            L = E ‖h − ĥ‖² / E ‖h − E h‖² + 1/32 E ‖e − W_d z†‖² / E ‖e − E e‖²,   e = h − ĥ, not trained;  z†: as z, of features that have long been 0
            z'_F = −τ z_F,  z' = z elsewhere;    h ← h + s W_d (z' − z)   where   mean (W_d (z' − z))² ≥ θ,   else h stays
            F: strongest features of the concept's prompts without those of any other prompt;  θ: .99 of the least score of the concept's prompts
Cost        One autoencoder for a model, minutes, kept in the user's cache; a new concept costs one pass of the text encoder over some prompts.
Problems    It knows what the prompts it was trained on say: the model's vocabulary and what its tokenizer has as whole words. A name made of pieces
            (most artists') it may have seen by its pieces alone, and tells it worse from others. No alternative can be chosen. It guards the prompt,
            not the pictures.
Differs     h gets the difference alone, and a prompt without the concept is left bit for bit; theirs puts ĥ in the place of h, the error of ĥ included.
            Its score is the change alone, over the tokens that are changed; theirs is the error of what it puts there, over all tokens, and θ is taken
            of each prompt's worst token (celebrities) or at τ = 6 (styles): prompts of the concept itself may stay below it.
            A feature that is 0 counts for nobody, and padding counts; theirs fills up the strongest with some that are 0, and has no padding.
            b begins at the median by coordinate, theirs at the geometric one. Dead is what was 0 for 200 steps, theirs for 200,000, longer than they
            train. Smaller, without warm-up: theirs takes 6,000 steps at 1e-4 over 40,000 captions, names and styles.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback
from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts
from ..concepts.templates import article
from ..edits.adapters import SparseAutoencoder, build_adapter
from ..edits.edit import Edit, has_adapters
from ..edits.provenance import make_card, model_identity
from ..errors import InputError
from ..io.weights import open_safetensors, user_cache, write_safetensors
from ..models.interface import Model
from ..training.distributed import is_first, require_single_process
from ..training.resume import resumable_steps

log = logging.getLogger(__name__)


# What the autoencoder reads: a, b are words with an article ("a pig"), x and y any words as they are: styles, colours, or what comes.
PHRASINGS = (
    "{a}", "a picture of {a}", "a painting of {a}", "{a} and {b}", "{a} next to {b}", "{a} to the left of {b}", "{a} on {an_x} background", "{an_x} of {a}",
    "{a} in {x} style", "{a}, {x}", "{an_x} picture of {a}", "{an_x} of {a} and {b}", "{a} and {b} in {x} style", "{an_x} of {a} on {a_y} background",
)  # fmt: skip

STATES = 2**17  # of tokens are kept for the training, of all that were read: at width 768 0.4 GB

READ = 64  # prompts at once


@dataclass(frozen=True, kw_only=True)
class SAE:
    """features and active are n and k of the autoencoder; the authors' 524,288 and 64 are for a vocabulary far larger than a small model's.

    strength   τ
    top        how many of the strongest features of a prompt are looked at, of the concept's and of the others; as many as are active, and a trace of one
               in any other prompt takes it from the concept: with 16 fox was left in 17 of 32 pictures, with 8 in none
    steps, lr  of the autoencoder's training, 8 · `batch` states each; prompts: how many it is trained on, whatever the concept
    cache      is a trained autoencoder kept for the next concept, in the user's cache folder? false: it is trained for this edit alone
    """

    features: int = 4096
    active: int = 16
    strength: float = 8.0
    top: int = 8
    steps: int = 1500
    lr: float = 1e-3
    batch: int = 64
    prompts: int = 8192
    cache: bool = True
    seed: int = 0

    def __call__(self, model: Model, *concepts: Concept, progress: ProgressCallback = lambda progress: None) -> Edit:
        """Deactivate the concepts. An alternative is not used."""
        targets = [c for concept in concepts for c, _ in concept.pairs()]
        others = ["", *retain_prompts(concepts, model.vocabulary)]
        site = model.text_layer()
        sae, seconds = self.autoencoder(model, progress)
        progress(Progress("finding the concept's features", 0, 1))
        mine, theirs = (set().union(*(strongest(sae, h, self.top) for h in read(model, prompts))) for prompts in (targets, others))
        chosen = sorted(mine - theirs)
        if not chosen:
            raise InputError("the concept has no feature of its own: name fewer synonyms, or raise `top` or `features`")
        sae.features = torch.tensor(chosen)
        sae.scale = torch.tensor(-self.strength)
        score = torch.cat([sae.score(h) for h in read(model, targets)])
        sae.threshold = 0.99 * score[score > 0].min() if (score > 0).any() else torch.tensor(0.0)
        told = {"features": len(chosen), "autoencoder": {"steps": self.steps, "seconds": seconds}}
        return Edit(
            {},
            {**make_card("sae", self, concepts, model), **model_identity(model), **told},
            {site: build_adapter(sae.kind, sae.state_dict())},
        )

    def autoencoder(self, model: Model, progress: ProgressCallback) -> tuple[SparseAutoencoder, float]:
        """The model's autoencoder and the seconds that it took once: out of the cache, or trained on `sayings`, none of which knows the concept.

        A model with adapters on it says other things than its weights tell: its autoencoder is not kept.
        """
        prompts = [said for said in sayings(model.vocabulary, model.lexicon, self.prompts) if not model.truncated_text(said)]
        file = user_cache() / "autoencoders" / self.file_name(model, prompts) if self.cache and not has_adapters(model) else None
        if file and file.exists():
            try:
                tensors, told = open_safetensors(file)
                return SparseAutoencoder.of(tensors).to(model.device), float(told["seconds"])
            except InputError as error:
                log.warning("%s; it is trained again", error)
        start = time.perf_counter()
        sae = self.train(self.seen(model, prompts, progress), progress)
        seconds = round(time.perf_counter() - start, 1)
        if file and is_first():
            try:
                write_safetensors(sae.state_dict(), file, {"seconds": str(seconds)})
            except InputError as error:
                log.warning("the autoencoder is not kept for the next concept: %s", error)
        return sae, seconds

    def file_name(self, model: Model, prompts: Sequence[str]) -> str:
        """Of everything that makes the autoencoder what it is; what is done with it afterwards has no part."""
        settings = [self.features, self.active, self.steps, self.lr, self.batch, self.seed, STATES]
        software = [version(name) for name in ("unconcept", "torch", "transformers")]
        job = json.dumps([model.image_cache_key(), model.text_layer(), settings, prompts, software])
        return f"{hashlib.sha256(job.encode()).hexdigest()[:32]}.safetensors"

    def seen(self, model: Model, prompts: Sequence[str], progress: ProgressCallback) -> Tensor:
        """States [N, width] of the prompts' tokens but the first: STATES of them where there are more, of every prompt as many, words before padding."""
        generator, found, share = torch.Generator().manual_seed(self.seed), [], max(1, STATES // len(prompts))
        for i, h in enumerate(read(model, prompts)):
            progress(Progress("reading the model's vocabulary", i * READ, len(prompts)))
            places = torch.arange(1, h.shape[1]).expand(len(h), -1)
            padding = places > model.last_token_index(prompts[i * READ : (i + 1) * READ])[:, None] + 1
            order = (torch.rand(places.shape, generator=generator) + padding).argsort(1)[:, :share] + 1
            found.append(h.gather(1, order.to(h.device)[..., None].expand(-1, -1, h.shape[2])).flatten(0, 1))
        return torch.cat(found)

    def loss(self, sae: SparseAutoencoder, x: Tensor, spread: Tensor, dead: Tensor) -> tuple[Tensor, Tensor]:
        """(L, the features [N, n] of x [N, width]); spread: E ‖h − E h‖²; dead [n]: which features have long been 0. Without any, there is no second term."""
        before = sae.before(x)
        z = sae.sparse(before)
        e = x - sae.decode(z)
        loss = e.square().sum(1).mean() / spread
        if dead.any():
            woken = sae.sparse(torch.where(dead, before, -torch.inf))
            target = e.detach() + sae.centre.detach()
            loss = loss + (sae.decode(woken) - target).square().mean() / (target - target.mean(0)).square().mean().clamp(min=1e-12) / 32
        return loss, z

    def train(self, h: Tensor, progress: ProgressCallback) -> SparseAutoencoder:
        """Minimise L over states h [N, width]; columns of the decoder stay on the unit sphere."""
        require_single_process()
        generator = torch.Generator().manual_seed(self.seed)
        sae = SparseAutoencoder.begin(h.cpu(), self.features, self.active, generator).to(h.device)
        weights = [sae.encoder, sae.latent, sae.decoder, sae.centre]
        for w in weights:
            w.requires_grad_(True)
        optimizer = torch.optim.Adam(weights, lr=self.lr, eps=1e-8)
        spread, silent = h.var(0, correction=0).sum(), torch.zeros(self.features, dtype=torch.long, device=h.device)
        for step in resumable_steps(self.steps, optimizer, generator, {"silent": silent}):
            x = h[torch.randint(len(h), (self.batch * 8,), generator=generator)]
            loss, z = self.loss(sae, x, spread, silent > 200)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                sae.decoder /= sae.decoder.norm(dim=0, keepdim=True)
                silent.add_(1).masked_fill_((z > 0).any(0), 0)
            progress(Progress("the sparse autoencoder, once for this model", step, self.steps, loss.item(), None))
        for w in weights:
            w.requires_grad_(False)
        return sae


def sayings(vocabulary: Sequence[str], lexicon: Sequence[str], n: int) -> list[str]:
    """At most `n` prompts: the words of the vocabulary alone and beside others; then they, and those of the lexicon, by turns in every phrasing."""
    chance, words = random.Random(0), list(dict.fromkeys(vocabulary))
    words += chance.sample(more := sorted(set(lexicon) - set(words)), len(more))
    prompts = ["", *retain_prompts((), vocabulary)]
    for i in range(n - len(prompts)):
        turn, place = divmod(i, len(words))
        b, x, y = (chance.choice(words) for _ in range(3))
        phrasing = PHRASINGS[(turn + place) % len(PHRASINGS)]
        prompts.append(phrasing.format(a=article(words[place]), b=article(b), x=x, an_x=article(x), a_y=article(y)))
    return list(dict.fromkeys(prompts))[:n]


def read(model: Model, prompts: Sequence[str]) -> Iterator[Tensor]:
    """The hidden states [READ, tokens, width] of the prompts, part by part."""
    for i in range(0, len(prompts), READ):
        yield model.text_hidden_states(prompts[i : i + READ])


def strongest(sae: SparseAutoencoder, hidden: Tensor, top: int) -> set[int]:
    """The `top` features of each prompt [N, tokens, width], by the largest value at any token but the first; all of them together.

    Padding counts: what a prompt says stands in the states behind it, too.
    """
    found: set[int] = set()
    for h in hidden:
        values, features = sae.sparse(sae.before(h[1:])).amax(0).topk(top)
        found |= set(features[values > 0].tolist())
    return found
