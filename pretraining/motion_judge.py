"""The judge of motions, trained on real clips.

    python -m pretraining motion-judge

Every seventh object is left out: the examination is on clips of these alone. It is written into
the package with its accuracy, in some minutes on one core.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unconcept.evaluation.emoji import motion_judge as packaged
from unconcept.evaluation.emoji.motion_judge import NAMES, NONE, MotionJudge
from unconcept.evaluation.emoji.moving import OTHERS, Placement, placements, render_frame
from unconcept.models.emoji.motions import FRAMES, ROUND
from unconcept.models.emoji.vocabulary import COLOURS, OBJECTS

from .checkpoint import cosine
from .judge import roughen, to_unit

BATCH = 40
LR = 2e-3
NONE_SHARE = 0.3
EXAMPLES = 2  # clips of every unseen object and motion in the examination
UNSEEN = tuple(range(0, len(OBJECTS), 7))
SEEN = tuple(i for i in range(len(OBJECTS)) if i not in UNSEEN)
# A drawing that spins in random order is hard to tell from one that spins, also for people.
SHUFFLED = tuple(name for name in NAMES if name not in ("still", "spin"))
WAYS = (*NAMES, *OTHERS, "shuffled", "cut")


class Store:
    """Frames of some objects, drawn when they are first needed, once each."""

    def __init__(self):
        self.frames: dict[tuple[int, int, Placement], np.ndarray] = {}

    def clip(self, thing: int, motion: str, colour: int, rng: np.random.Generator) -> np.ndarray:
        """[FRAMES, 64, 64, 3] uint8 of one clip."""
        frames = []
        for placement in placements(motion, rng):
            key = (thing, colour, placement)
            if key not in self.frames:
                self.frames[key] = render_frame(*key)
            frames.append(self.frames[key])
        return np.stack(frames)


def shuffled_order(rng: np.random.Generator) -> np.ndarray:
    """A random order of the frames that goes neither forwards nor backwards."""
    while True:
        order = rng.permutation(FRAMES)
        rising = np.corrcoef(order, np.arange(FRAMES))[0, 1]
        if abs(rising) < 0.6:
            return order


def draw(store: Store, thing: int, way: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """One clip and its class.

    Args:
        store: Where its frames are.
        thing: Index into OBJECTS.
        way: One of WAYS.
        rng: Draws place, order and second object.

    Returns:
        [FRAMES, 64, 64, 3] uint8 and the class.
    """
    colour = (3 * thing) % len(COLOURS)
    if way == "shuffled":
        name = SHUFFLED[rng.integers(len(SHUFFLED))]
        return store.clip(thing, name, colour, rng)[shuffled_order(rng)], NONE
    if way == "cut":
        other = SEEN[rng.integers(len(SEEN))]
        first = store.clip(thing, "still", colour, rng)
        second = store.clip(other, "still", (3 * other) % len(COLOURS), rng)
        cut = int(rng.integers(2, FRAMES - 1))
        return np.concatenate([first[:cut], second[cut:]]), NONE
    clip = store.clip(thing, way, colour, rng)
    if way == "spin" and rng.random() < 0.5:
        clip = clip[::-1]  # the other way round
    return clip, NAMES.index(way) if way in NAMES else NONE


def shows(thing: int, way: str) -> bool:
    """Can this motion be seen on this object? A ball that spins stands still."""
    return way not in ("spin", "swing") or OBJECTS[thing].word not in ROUND


def draw_batch(store: Store, n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Clips [n, FRAMES, 3, 64, 64] in [0, 1] with colors exchanged and soft or noisy frames."""
    clips, classes = [], []
    while len(clips) < n:
        ways = WAYS[len(NAMES) :] if rng.random() < NONE_SHARE else NAMES
        way = ways[rng.integers(len(ways))]
        thing = SEEN[rng.integers(len(SEEN))]
        if shows(thing, way):
            clip, number = draw(store, thing, way, rng)
            clips.append(clip[..., rng.permutation(3)])
            classes.append(number)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    x = roughen(to_unit(np.concatenate(clips)), generator)
    return x.unflatten(0, (n, FRAMES)), torch.tensor(classes)


def train(steps: int, store: Store) -> MotionJudge:
    torch.manual_seed(0)
    judge = MotionJudge().train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LR, weight_decay=1e-2)
    start = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LR * cosine(step, steps, warmup=20, floor=0.0)
        clips, classes = draw_batch(store, BATCH, np.random.default_rng([9, step]))
        loss = nn.functional.cross_entropy(judge(clips), classes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 20 == 19:
            cost = time.process_time() - start
            print(
                f"motion judge {step + 1}/{steps} loss {loss.item():.3f} {cost:.0f}s CPU",
                file=sys.stderr,
                flush=True,
            )
    return judge.eval()


def examine(judge: MotionJudge, store: Store) -> dict[str, list]:
    """Accuracy on the unseen objects, all motions of each: {what: [share right, n]}."""
    rng = np.random.default_rng(987_654)
    right: dict[str, list[bool]] = {"motions": [], "none of these": []}
    for way in WAYS:
        clips, classes = [], []
        for thing in UNSEEN:
            for _ in range(EXAMPLES if shows(thing, way) else 0):
                clip, number = draw(store, thing, way, rng)
                clips.append(clip)
                classes.append(number)
        x = to_unit(np.concatenate(clips)).unflatten(0, (len(clips), FRAMES))
        hits = (judge.look(x) == torch.tensor(classes)).tolist()
        right[way] = hits
        right["motions" if way in NAMES else "none of these"] += hits
    return {what: [round(float(np.mean(hits)), 4), len(hits)] for what, hits in right.items()}


def write(judge: MotionJudge, measured: dict, weights: Path) -> None:
    """The judge in fp16 and its accuracy, into the package."""
    tensors = {}
    for name, tensor in judge.state_dict().items():
        tensors[name] = tensor.half() if tensor.is_floating_point() else tensor
    part = weights.with_suffix(".part")
    save_file(tensors, part)
    part.replace(weights)
    weights.with_suffix(".json").write_text(json.dumps(measured, indent=1) + "\n")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m pretraining motion-judge", description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--weights", type=Path, default=packaged.WEIGHTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    store = Store()
    judge = train(options.steps, store)
    measured = examine(judge, store)
    write(judge, measured, options.weights)
    print(json.dumps(measured, indent=1))
