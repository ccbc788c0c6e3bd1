"""Interpret then Deactivate: a sparse autoencoder as a zero-shot classifier in the text encoder.

Source      Tian, Nan et al. 2025, arXiv 2503.09446 (ItD); code NANSirun/Interpret-then-deactivate.
            Autoencoder: Gao et al. 2024, arXiv 2406.04093.
Idea        Learn once which features prompts consist of. Scale down the features that only the
            concept has, in prompts that have them.
Equation    z = ReLU(TopK_k(W_e (h − b) + β)),      h ≈ ĥ = W_d z + b
            h: the text encoder's residual stream after a layer [tokens, width]
            L = E ‖h − ĥ‖² / E ‖h − E h‖² + 1/32 E ‖e − W_d z†‖² / E ‖e − E e‖²
            e = h − ĥ, without gradient;  z†: as z, of features that have not been active for long
            z'_F = −τ z_F,  z' = z elsewhere
            h ← h + s W_d (z' − z)   where   mean (W_d (z' − z))² ≥ θ,   else h is unchanged
            F: strongest features of the concept's prompts that no other prompt has
            θ: 0.99 of the lowest score of the concept's prompts
Cost        One autoencoder for each model, minutes, kept in the user's cache. A new concept costs
            one pass of the text encoder over some prompts.
Problems    It knows what its training prompts contain: the model's vocabulary and whole words of
            its tokenizer. A name of several tokens, like most artists', may be known by its tokens
            only and is told less well from others. No alternative can be chosen. It guards the
            prompt, not the images.
Differences from the official code
            h gets the difference only, and a prompt without the concept is bit-identical; theirs
            replaces h by ĥ, including the reconstruction error.
            Our score is the change over the tokens that change; theirs is the error of the
            replacement over all tokens, with θ from each prompt's worst token (celebrities) or
            τ = 6 (styles), so that prompts of the concept may stay below it.
            A feature at 0 counts for no prompt, and padding counts; theirs fills the strongest up
            with features at 0, and has no padding.
            b begins at the median by coordinate, theirs at the geometric one. A feature is dead
            after 200 steps without activity, theirs after 200,000, which is longer than they train.
            Ours is smaller, without warm-up; theirs takes 6,000 steps at 1e-4 over 40,000 captions,
            names and styles.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts
from ..concepts.templates import article
from ..edits.adapters import SparseAutoencoder, build_adapter
from ..edits.applied_edits import has_adapters
from ..edits.edit import Edit
from ..edits.provenance import make_card, model_identity
from ..errors import InputError, UnconceptError
from ..io.weights import open_safetensors, user_cache, write_safetensors
from ..models.interface import Model
from ..training.distributed import is_first, require_single_process
from ..training.resume import TrainingState, resumable

log = logging.getLogger(__name__)


# Prompts of the autoencoder: a and b are words with an article ("a pig"); x and y any words,
# styles and colours among them.
PHRASINGS = (
    "{a}",
    "a picture of {a}",
    "a painting of {a}",
    "{a} and {b}",
    "{a} next to {b}",
    "{a} to the left of {b}",
    "{a} on {an_x} background",
    "{an_x} of {a}",
    "{a} in {x} style",
    "{a}, {x}",
    "{an_x} picture of {a}",
    "{an_x} of {a} and {b}",
    "{a} and {b} in {x} style",
    "{an_x} of {a} on {a_y} background",
)

STATES = 2**17  # token states in the training set, at most: 0.4 GB at width 768

PROMPTS_AT_ONCE = 64  # prompts that are encoded together

RETAINED = 1536  # retained prompts that are compared with the concept's, see `SAE.retained`

DEAD_AFTER = 200  # steps without activity after which a feature counts as dead


@dataclass(frozen=True, kw_only=True)
class SAE:
    """Settings of the autoencoder and of its use.

    features    n; the authors use 524,288, for a larger vocabulary than a small model's
    active      k; the authors use 64
    strength    τ
    top         strongest features of each prompt, the concept's and others', that are compared.
                With 16 instead of 8, fox was left in 17 of 32 images instead of none: a trace of a
                feature in any other prompt takes it from the concept
    steps, lr   of the autoencoder's training
    batch_size  an eighth of the token states in a step
    prompts     number of training prompts; they do not depend on the concept
    cache       keep the trained autoencoder for the next concept, in the user's cache folder
    """

    features: int = 4096
    active: int = 16
    strength: float = 8.0
    top: int = 8
    steps: int = 1500
    lr: float = 1e-3
    batch_size: int = 64
    prompts: int = 8192
    cache: bool = True
    seed: int = 0

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Deactivate the concepts. The alternative is not used."""
        concepts = model.complete(concepts)
        targets = [prompt for concept in concepts for prompt, _ in concept.pairs()]
        others = ["", *self.retained(model, concepts)]
        site = model.text_layer()
        sae, seconds = self.autoencoder(model, progress)
        progress(Progress("finding the concept's features", 0, 1))
        features = sorted(
            strongest_features(sae, hidden_states(model, targets), self.top)
            - strongest_features(sae, hidden_states(model, others), self.top)
        )
        if not features:
            raise InputError(
                "the concept has no feature of its own: "
                "name fewer synonyms, or raise `top` or `features`"
            )
        sae.features = torch.tensor(features)
        sae.scale = torch.tensor(-self.strength)
        scores = torch.cat([sae.score(h) for h in hidden_states(model, targets)])
        positive = scores[scores > 0]
        sae.threshold = 0.99 * positive.min() if len(positive) else torch.tensor(0.0)
        card = {
            **make_card("sae", self, concepts, model),
            **model_identity(model, ()),
            "features": len(features),
            "autoencoder": {"steps": self.steps, "seconds": seconds},
        }
        return Edit({}, card, {site: build_adapter(sae.kind, sae.state_dict())})

    def retained(self, model: Model, concepts: Sequence[Concept]) -> list[str]:
        """Prompts whose features are not the concept's.

        Concepts that are completed with the lexicon keep a hundred words and more, in every
        template: of these prompts every word alone stays, and a fixed random choice of the rest.

        Args:
            model: Its vocabulary is used.
            concepts: Completed concepts.

        Returns:
            Distinct prompts; of a model that completes with the lexicon at most `RETAINED`, unless
            there are more words.
        """
        prompts = retain_prompts(concepts, model.vocabulary)
        if not model.completes or len(prompts) <= RETAINED:
            return prompts
        words = [*model.vocabulary]
        for concept in concepts:
            words += concept.keep
        alone = {article(word) for word in words} & set(prompts)
        rest = [prompt for prompt in prompts if prompt not in alone]
        chance = random.Random(self.seed)
        chosen = alone | set(chance.sample(rest, max(0, RETAINED - len(alone))))
        return [prompt for prompt in prompts if prompt in chosen]

    def loss(
        self, sae: SparseAutoencoder, h: Tensor, variance: Tensor, dead: Tensor
    ) -> tuple[Tensor, Tensor]:
        """L of the module's docstring, for a batch of token states.

        Args:
            sae: The autoencoder, with gradients.
            h: Token states [N, width].
            variance: E ‖h − E h‖² over all training states, a scalar.
            dead: Which features have not been active for long [n]. Without any, L has no second
                term.

        Returns:
            L, a scalar, and the features z [N, n].
        """
        preactivations = sae.preactivations(h)
        z = sae.sparse(preactivations)
        e = h - sae.decode(z)
        loss = e.square().sum(1).mean() / variance
        if dead.any():
            z_dead = sae.sparse(torch.where(dead, preactivations, -torch.inf))
            target = e.detach() + sae.centre.detach()
            error = (sae.decode(z_dead) - target).square().mean()
            spread = (target - target.mean(0)).square().mean().clamp(min=1e-12)
            loss = loss + error / spread / 32
        return loss, z

    def autoencoder(
        self, model: Model, progress: ProgressCallback
    ) -> tuple[SparseAutoencoder, float]:
        """The model's autoencoder, from the cache or trained; its prompts do not name the concept.

        With adapters on it, a model's text encoder returns other states than its weights tell: the
        autoencoder is neither loaded nor stored then.

        Args:
            model: Whose text encoder is read.
            progress: Called during the training.

        Returns:
            The autoencoder on the model's device, and the seconds that its training took.
        """
        prompts = []
        for prompt in training_prompts(model.vocabulary, model.lexicon, self.prompts):
            if not model.truncated_text(prompt):
                prompts.append(prompt)
        file = None
        if self.cache and not has_adapters(model):
            file = user_cache() / "autoencoders" / self.file_name(model, prompts)
        if file and (stored := load_autoencoder(file)):
            sae, seconds = stored
            return sae.to(model.device), seconds
        start = time.perf_counter()
        sae = self.train(self.training_states(model, prompts, progress), progress)
        seconds = round(time.perf_counter() - start, 1)
        if file and is_first():
            try:
                write_safetensors(sae.state_dict(), file, {"seconds": str(seconds)})
            except UnconceptError as error:
                log.warning("the autoencoder is not kept for the next concept: %s", error)
        return sae, seconds

    def file_name(self, model: Model, prompts: Sequence[str]) -> str:
        """A hash of everything that the training of the autoencoder depends on.

        Args:
            model: Whose text encoder is read.
            prompts: Of the training.

        Returns:
            Name of the file in the cache.
        """
        settings = [
            self.features,
            self.active,
            self.steps,
            self.lr,
            self.batch_size,
            self.seed,
            STATES,
        ]
        software = [version(name) for name in ("unconcept", "torch", "transformers")]
        job = json.dumps([model.image_cache_key(), model.text_layer(), settings, prompts, software])
        return f"{hashlib.sha256(job.encode()).hexdigest()[:32]}.safetensors"

    def training_states(
        self, model: Model, prompts: Sequence[str], progress: ProgressCallback
    ) -> Tensor:
        """Token states of the prompts, at most `STATES`, as many of every prompt.

        The first token is left out; words are taken before padding.

        Args:
            model: Whose text encoder is read.
            prompts: Of the training.
            progress: Called for every chunk of prompts.

        Returns:
            [N, width]
        """
        generator = torch.Generator().manual_seed(self.seed)
        share = max(1, STATES // len(prompts))
        chunks = []
        for i, h in enumerate(hidden_states(model, prompts)):
            start = i * PROMPTS_AT_ONCE
            progress(Progress("reading the model's vocabulary", start, len(prompts)))
            last_token = model.last_token_index(prompts[start : start + PROMPTS_AT_ONCE])
            places = torch.arange(1, h.shape[1]).expand(len(h), -1)
            padding = places > last_token[:, None] + 1
            order = torch.rand(places.shape, generator=generator) + padding
            chosen = order.argsort(1)[:, :share] + 1
            index = chosen.to(h.device)[..., None].expand(-1, -1, h.shape[2])
            chunks.append(h.gather(1, index).flatten(0, 1))
        return torch.cat(chunks)

    def train(self, h: Tensor, progress: ProgressCallback) -> SparseAutoencoder:
        """Minimize L; columns of the decoder stay on the unit sphere.

        Args:
            h: Hidden states [N, width].
            progress: Called after every step.

        Returns:
            The autoencoder on the states' device.

        Raises:
            InputError: There are several processes.
        """
        require_single_process()
        generator = torch.Generator().manual_seed(self.seed)
        sae = SparseAutoencoder.begin(h.cpu(), self.features, self.active, generator)
        sae = sae.to(h.device)
        weights = [sae.encoder, sae.latent, sae.decoder, sae.centre]
        for w in weights:
            w.requires_grad_(True)
        optimizer = torch.optim.Adam(weights, lr=self.lr, eps=1e-8)
        variance = h.var(0, correction=0).sum()
        inactive = torch.zeros(self.features, dtype=torch.long, device=h.device)  # for how long
        state = TrainingState(optimizer, generator, {"silent": inactive})
        for step in resumable(state, self.steps):
            rows = torch.randint(len(h), (self.batch_size * 8,), generator=generator)
            loss, z = self.loss(sae, h[rows], variance, inactive > DEAD_AFTER)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                sae.decoder /= sae.decoder.norm(dim=0, keepdim=True)
                inactive.add_(1).masked_fill_((z > 0).any(0), 0)
            stage = "the sparse autoencoder, once for this model"
            progress(Progress(stage, step, self.steps, loss.item(), None))
        for w in weights:
            w.requires_grad_(False)
        return sae


def load_autoencoder(file: Path) -> tuple[SparseAutoencoder, float] | None:
    """An autoencoder from the cache.

    Args:
        file: May be missing.

    Returns:
        The autoencoder and the seconds that its training took; None for a missing or broken file.
    """
    if not file.exists():
        return None
    try:
        tensors, metadata = open_safetensors(file)
    except InputError as error:
        log.warning("%s; it is trained again", error)
        return None
    return SparseAutoencoder.of(tensors), float(metadata["seconds"])


def training_prompts(vocabulary: Sequence[str], lexicon: Sequence[str], n: int) -> list[str]:
    """Prompts that the autoencoder is trained on, the same for every concept.

    They are the words of the vocabulary, alone and beside others; then these and the words of the
    lexicon in turn, in every phrasing.

    Args:
        vocabulary: Words for objects.
        lexicon: Other words, styles and colours among them.
        n: Number of prompts, at most.

    Returns:
        Distinct prompts.
    """
    chance = random.Random(0)
    words = list(dict.fromkeys(vocabulary))
    others = sorted(set(lexicon) - set(words))
    words += chance.sample(others, len(others))
    prompts = ["", *retain_prompts((), vocabulary)]
    for i in range(n - len(prompts)):
        turn, place = divmod(i, len(words))
        b, x, y = chance.choice(words), chance.choice(words), chance.choice(words)
        phrasing = PHRASINGS[(turn + place) % len(PHRASINGS)]
        prompts.append(
            phrasing.format(
                a=article(words[place]), b=article(b), x=x, an_x=article(x), a_y=article(y)
            )
        )
    return list(dict.fromkeys(prompts))[:n]


def hidden_states(model: Model, prompts: Sequence[str]) -> Iterator[Tensor]:
    """The hidden states of prompts, chunk by chunk.

    Args:
        model: Whose text encoder is read.
        prompts: Any number.

    Yields:
        [PROMPTS_AT_ONCE, tokens, width]; the last chunk may be smaller.
    """
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        yield model.text_hidden_states(prompts[start : start + PROMPTS_AT_ONCE])


def strongest_features(
    sae: SparseAutoencoder, chunks: Iterator[Tensor] | Sequence[Tensor], top: int
) -> set[int]:
    """The union of every prompt's strongest active features.

    A feature counts by its largest value at any token but the first. Padding counts, too: its
    states contain what the prompt says.

    Args:
        sae: The autoencoder.
        chunks: Hidden states [N, tokens, width].
        top: Features of each prompt, at most.

    Returns:
        Indices of features.
    """
    strongest: set[int] = set()
    for hidden in chunks:
        for h in hidden:
            values, features = sae.features_of(h[1:]).amax(0).topk(top)
            strongest |= set(features[values > 0].tolist())
    return strongest
