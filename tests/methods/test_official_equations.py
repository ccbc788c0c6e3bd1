"""Our methods against their authors' own code: the same small inputs give the same numbers.

Inputs are waves, sin(start + 1.7 n), so that anyone can reproduce them. The numbers were obtained
by running the named function, at the named commit, on stand-ins for model and tokenizer that return
these inputs. None of their code is here.
"""

import pytest
import torch
from support.waves import near, wave
from torch import nn
from torch.nn.functional import interpolate

from unconcept.concepts.concept import Concept
from unconcept.edits.adapters import Eraser
from unconcept.methods import esd, sdd
from unconcept.methods.esd import ESD
from unconcept.methods.receler import Receler
from unconcept.methods.sdd import SDD
from unconcept.methods.uce import RECE, UCE
from unconcept.models.interface import Site
from unconcept.training.replay import sample_point

W = [wave(3, 4, start=1.0), wave(3, 4, start=2.0)]  # a key and a value matrix, width 4
# token states of five tokens; a word's last token is the third
PIG, COW, CAT, EMPTY = (wave(5, 4, start=s) for s in (3.0, 4.0, 5.0, 6.0))
UCE_W = [
    [
        [0.642132, 0.361002, -0.735158, -0.17156],
        [1.184338, -0.013283, -1.180915, 0.317593],
        [1.417189, -0.384098, -1.31821, 0.723788],
    ],
    [
        [1.413138, -0.362062, -1.319837, 0.702171],
        [1.299859, -0.641627, -1.134517, 0.933981],
        [0.847049, -0.753596, -0.652856, 0.921831],
    ],
]


@pytest.mark.parametrize("i", [0, 1])
def test_uce(i):
    """UCE() of trainscripts/uce_sd_erase.py, rohitgandikota/unified-concept-editing@28c81ed: pig to
    cow, cat preserved, λ = 0.5.
    """
    c, g, k = PIG[2:3], COW[2:3], CAT[2:3]
    assert (W[i] + UCE().solve(W[i], c, W[i] @ g.T, k)).flatten().tolist() == near(UCE_W[i])


FOUND = [
    [0.186157, -1.083862, 0.093144, 1.059869],
    [-0.239529, -1.341403, 0.585194, 1.190609],
    [-0.602649, -1.248562, 0.924388, 1.010356],
    [-0.808354, -0.829591, 1.022127, 0.566192],
    [-0.802913, -0.193927, 0.852882, -0.025863],
]
RECE_W = [
    [
        [-0.373135, -0.290342, 0.447929, 0.174839],
        [-0.95081, -0.089919, 0.973926, -0.161256],
        [-1.280131, 0.13399, 1.245526, -0.455227],
    ],
    [
        [-1.268372, 0.119869, 1.237413, -0.439011],
        [-1.286026, 0.312734, 1.205368, -0.623624],
        [-0.967767, 0.423912, 0.858471, -0.645342],
    ],
]


def test_rece_finds():
    """close_form_emb_regzero() of utils/embedding_calculation/close_form_emb.py,
    CharlesGong12/RECE@403a67f, from the UCE weights above, λ_r = 0.1.
    """
    c = RECE(ridge=0.1).find([torch.tensor(w) for w in UCE_W], W, PIG)
    assert c.flatten().tolist() == near(FOUND)


@pytest.mark.parametrize("i", [0, 1])
def test_rece_erases(i):
    """edit_model_adversarial() of erase_methods/uce.py, CharlesGong12/RECE@403a67f: c' to the empty
    prompt, which is preserved; weights 0.1, 1 and 0.1.
    """
    w = torch.tensor(UCE_W[i])
    method = RECE(lam=0.1, erase=1.0, preserve=0.1)
    assert (
        w + method.solve(w, torch.tensor(FOUND), w @ EMPTY.T, EMPTY)
    ).flatten().tolist() == near(RECE_W[i])


def attention_to_tokens(maps):
    """Attention [N, heads, h·w, tokens] to tokens 1 and 2, as a model returns it [N, h, w]."""
    by_site = {}
    for site, attention in maps.items():
        side = round(attention.shape[2] ** 0.5)
        by_site[site] = attention[..., [1, 2]].sum(-1).mean(1).unflatten(1, (side, side))
    return by_site


def first_places(mask, n):
    """The first n places inside a mask."""
    return mask.flatten().nonzero().flatten()[:n].tolist()


def test_receler_mask():
    """get_mask() of receler/concept_reg.py, jasper0314-huang/Receler@3ccedc9: two heads, tokens 1
    and 2, threshold 0.3.

    They average over the tokens, which after normalization is the same as our sum.
    """
    maps = {"a": (wave(1, 2, 256, 6) + 1) / 2, "b": (wave(1, 2, 64, 6) + 1) / 2}
    mask = Receler(threshold=0.3).concept_mask(attention_to_tokens(maps))
    assert int(mask.sum()) == 160
    assert first_places(mask, 12) == [0, 1, 3, 5, 6, 8, 9, 11, 13, 14, 16, 17]
    small = interpolate(mask, (8, 8), mode="nearest")
    assert int(small.sum()) == 41
    assert first_places(small, 12) == [0, 3, 4, 7, 8, 9, 11, 12, 13, 15, 16, 17]


def test_receler_mask_without_maps_of_16():
    """The same get_mask() fails without a map of 16 x 16 ("stack expects a non-empty TensorList",
    from maps of 8 and 4).

    Given the map of 8 with each place repeated to 16 x 16, it returns what ours returns for the map
    of 8: 41 places in the layer of 8, 11 in the layer of 4.
    """
    maps = {"a": (wave(1, 2, 64, 6) + 1) / 2, "b": (wave(1, 2, 16, 6) + 1) / 2}
    mask = Receler(threshold=0.3).concept_mask(attention_to_tokens(maps))
    assert mask.shape == (1, 1, 8, 8)
    assert int(mask.sum()) == 41
    assert first_places(mask, 12) == [0, 1, 3, 4, 6, 8, 9, 11, 12, 14, 16, 17]
    assert first_places(interpolate(mask, (4, 4), mode="nearest"), 16) == [
        0,
        2,
        3,
        4,
        6,
        7,
        8,
        10,
        11,
        12,
        15,
    ]


def test_receler_mask_of_a_map_without_contrast():
    """For a constant map theirs returns NaN, which no weight recovers from; ours has no place
    inside.
    """
    assert Receler(threshold=0.3).concept_mask({"a": torch.full((1, 16, 16), 0.2)}).sum() == 0


def test_receler_eraser():
    """AdapterEraser of receler/erasers/utils.py at the same commit, added to the attention's output
    as AttentionWithEraser adds it.
    """
    tensors = {
        "down.weight": wave(3, 4),
        "down.bias": wave(3),
        "up.weight": wave(4, 3, start=2.0),
        "up.bias": wave(4, start=3.0),
        "strength": torch.ones(()),
    }
    with torch.no_grad():
        y = Eraser.of(tensors)(wave(1, 2, 4, start=7.0))
    assert y.flatten().tolist() == near(
        [[2.356521, 2.587109, -0.059228, -1.910902], [1.954355, 2.146007, 0.472215, -0.896671]]
    )


class OneMatrix:
    """A stand-in for a model: x/2 + t/1000 tanh(mean over tokens of K c), with one matrix K named
    attn2.to_k.
    """

    prompt_states_key, family, quantized, completes = "states", "stand-in", "", False

    def __init__(self):
        self.denoiser = nn.Module()
        self.denoiser.attn2 = nn.Module()
        self.denoiser.attn2.to_k = nn.Linear(4, 3, bias=False).requires_grad_(False)
        self.denoiser.attn2.to_k.weight.copy_(wave(3, 4))
        self.components = {"unet": self.denoiser}
        self.conditions = {"": EMPTY, "pig": PIG, "cat": CAT, "farm": COW}

    def weight_group(self, name):
        return (Site("unet.attn2.to_k.weight", "states"),)

    def complete(self, concepts):
        return tuple(concepts)

    def encode(self, prompts):
        return {"states": torch.stack([self.conditions[prompt] for prompt in prompts])}

    def predict(self, x, t, condition):
        return (
            x / 2
            + (t / 1000).view(-1, 1, 1, 1)
            * torch.tanh(self.denoiser.attn2.to_k(condition["states"]).mean(1))[:, :, None, None]
        )

    def fingerprint(self):
        return ""


def points(monkeypatch, module, timesteps):
    """The method's trajectories return these points: waves at these timesteps."""
    points = iter(
        [(wave(1, 3, 2, 2, start=10.0 + i), torch.tensor([t])) for i, t in enumerate(timesteps)]
    )
    monkeypatch.setattr(module, "sample_point", lambda *args, **settings: next(points))


def trained(method, monkeypatch, module, timesteps, *names):
    points(monkeypatch, module, timesteps)
    model, losses = OneMatrix(), []
    edit = method(
        model,
        *(Concept(erase=n) for n in names),
        progress=lambda progress: losses.append(progress.loss),
    )
    return model.denoiser.attn2.to_k.weight + edit.deltas["unet.attn2.to_k.weight"], losses


class TwoMatrices(OneMatrix):
    """The same with a value matrix, and words that end at different tokens."""

    def __init__(self):
        super().__init__()
        self.last = {"": 0, "pig": 2, "cat": 2, "cow": 1, "dog": 3}
        self.denoiser.attn2.to_v = nn.Linear(4, 3, bias=False).requires_grad_(False)
        self.denoiser.attn2.to_v.weight.copy_(W[1])
        self.conditions |= {"cow": COW, "dog": wave(5, 4, start=7.0)}

    def weight_group(self, name):
        return tuple(Site(f"unet.attn2.{which}.weight", "states") for which in ("to_k", "to_v"))

    def linear_input(self, name, condition):
        return condition[name]

    def last_token_index(self, prompts):
        return torch.tensor([self.last[prompt] for prompt in prompts])


OLD_UCE_W = {
    "to_k": [
        [0.73425, 0.319785, -0.816674, -0.109334],
        [0.855927, 0.187839, -0.904335, 0.045203],
        [0.754035, 0.006821, -0.755774, 0.187927],
    ],
    "to_v": [
        [0.767243, 0.019197, -0.772172, 0.179781],
        [0.479305, -0.164998, -0.436758, 0.277538],
        [0.066168, -0.306097, 0.012739, 0.302804],
    ],
}


def test_the_older_uce():
    """edit_model() of train-scripts/train_erase.py, rohitgandikota/unified-concept-editing@35e91e2,
    technique "replace", with_to_k, λ = 0.1, 1 and 0.5.

    Pig to cow and dog to nothing, with the tokens behind them; all tokens of the empty prompt and
    of cat are preserved. Pig and cow end at different tokens.
    """
    bare_words = Concept(erase="dog", kind="style", templates=("{}",))
    pig = bare_words.with_(erase="pig", alternative="cow", keep=("cat",))
    method, model = UCE(tokens="all", lam=0.1, preserve=0.5), TwoMatrices()
    edit = method(model, pig, bare_words)
    for which, weights in OLD_UCE_W.items():
        name = f"unet.attn2.{which}.weight"
        assert (
            model.denoiser.get_submodule(f"attn2.{which}").weight + edit.deltas[name]
        ).flatten().tolist() == near(weights)


ESD_W = [
    [0.709112, 0.295021, -0.819244, -0.049804],
    [0.866101, -0.207593, -0.846735, 0.459917],
    [0.761913, -0.690929, -0.61811, 0.884452],
]
ESD_FROM_W = [
    [0.709053, 0.559798, -0.819184, -0.31458],
    [0.866377, 0.057015, -0.847011, 0.195309],
    [0.762646, -0.425906, -0.618842, 0.619429],
]


ESD_PAPER_W = [
    [0.70912, 0.295029, -0.819251, -0.049811],
    [0.866113, -0.207581, -0.846747, 0.459905],
    [0.761955, -0.690887, -0.618152, 0.884409],
]
ESD_NEWER_W = [
    [0.7091, 0.295009, -0.819231, -0.049791],
    [0.866081, -0.207613, -0.846715, 0.459937],
    [0.761843, -0.691, -0.618039, 0.884522],
]


@pytest.mark.parametrize(
    ("settings", "losses", "weights"),
    [
        ({"eta": 1.0}, [2.169598, 7.467613, 0.956608], ESD_W),
        ({"eta": 1.5}, [3.389997, 11.725915, 1.509639], ESD_PAPER_W),
        ({"eta": 1.5, "form": "newer"}, [1.220399, 4.16605, 0.529215], ESD_NEWER_W),
        ({"eta": 2.0, "form": "newer"}, [2.169598, 7.467613, 0.956608], ESD_W),
        ({"eta": 2.0, "erase_from": "farm"}, [2.169598, 7.491688, 0.962142], ESD_FROM_W),
        (
            {"eta": 2.0, "erase_from": "farm", "form": "newer"},
            [2.169598, 7.491688, 0.962142],
            ESD_FROM_W,
        ),
    ],
)
def test_esd(monkeypatch, settings, losses, weights):
    """Both codes of rohitgandikota/erasing, three steps at lr 0.05, η as their negative_guidance.

    The paper's form: train_esd() of train-scripts/train-esd.py@a2189e9, with 1 and 1.5. The newer
    form: all of esd_sd.py@25613d2, with 1.5 and 2, and with 2 and erase_from. Its 2 gives the
    numbers of the older code's 1; with erase_from both forms subtract from ε*(x,f).
    """
    edited, losses_of_ours = trained(
        ESD(steps=3, lr=0.05, **settings), monkeypatch, esd, (501, 941, 341), "pig"
    )
    assert edited.flatten().tolist() == near(weights)
    assert losses_of_ours == pytest.approx(losses, abs=2e-5)


SDD_W = [
    [0.798985, 0.418908, -0.914417, -0.178797],
    [0.954274, -0.07938, -0.941933, 0.327428],
    [0.855083, -0.572519, -0.714576, 0.758074],
]


def test_sdd(monkeypatch):
    """main() of train_sdd.py, nannullna/safe-diffusion@a2e820c: pig and cat in turn, four steps at
    lr 0.05, decay of the average 0.9, weight decay 0.1, gradients clipped at 0.05. It saves the
    average.
    """
    method = SDD(steps=4, lr=0.05, average=0.9, weight_decay=0.1, clip=0.05)
    edited, losses = trained(method, monkeypatch, sdd, (501, 609, 0, 372), "pig", "cat")
    assert edited.flatten().tolist() == near(SDD_W)
    assert losses == pytest.approx([0.5424, 0.389649, 0.0, 0.12279], abs=2e-5)


def test_sdd_begins_at_noise_where_the_authors_code_does_not():
    """sample_until(until=0) of the same file never stops: when the noise itself is drawn, it
    samples to the end, and t stays near 1000.

    On a scheduler that halves its sample at each of 4 steps, 1 became 0.0625. Our first point is
    the noise.
    """
    x, t = sample_point(Halving(), ["pig"], None, draws(0), steps=4, guidance=1.0)
    assert (x.item(), t.item()) == (1.0, 800)
    x, t = sample_point(Halving(), ["pig"], None, draws(3), steps=4, guidance=1.0)
    assert (x.item(), t.item()) == (0.125, 200)


class Halving:
    """Its trajectories begin at 1 and are halved at each step."""

    def trajectory(self, prompts, seeds, sampling):
        for step in range(sampling.steps):
            yield torch.tensor([0.5**step]), torch.tensor([800 - 200 * step])


def draws(value):
    """A generator whose draws below 4 give `value` first."""
    for seed in range(1000):
        if int(torch.randint(4, (), generator=torch.Generator().manual_seed(seed))) == value:
            return torch.Generator().manual_seed(seed)
    raise AssertionError("no seed draws it")
