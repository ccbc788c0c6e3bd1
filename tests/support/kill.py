"""Kill a training's process at random moments, again and again, until it gets through.

    python tests/support/kill.py tiny|emoji FILE [KILLS]

This process loads the model and forks children that train, each from the state that the previous
one left. They are killed at random moments, at least KILLS times, in one training or in several.
The last child saves its edit in FILE; one more, undisturbed, saves its own beside it. Prints the
number of kills on standard error.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script

from support.tiny_pipelines import tiny_pipeline
from unconcept import AllButOne, Concept, Tune, wrap
from unconcept.training.resume import checkpointed

PIG = Concept(erase="pig", alternative="cow")


def job(name: str):
    """(model, method, longest time until a child is killed in seconds)"""
    if name == "emoji":
        from unconcept.models import emoji

        return emoji.load(), AllButOne(start="none", rounds=1), 12.0
    quick = AllButOne(
        start="none",
        rounds=1,
        trajectories=12,
        points=2,
        sampling_steps=4,
        tune=Tune(steps=24, batch_size=4, check=8, patience=9),
    )
    return wrap(tiny_pipeline(), ("cat", "dog")), quick, 0.2


def train(model, method, state: Path | None, file: Path) -> int:
    """Train in a child process, since autograd's threads do not survive a fork: this process itself
    never trains. Returns the child's process id.
    """
    if child := os.fork():
        return child
    try:
        if state:
            with checkpointed(state, every=1, resume=True):
                method(model, PIG).save(file)
        else:
            method(model, PIG).save(file)
        os._exit(0)
    finally:
        os._exit(1)


def main(name: str, file: Path, least: int) -> None:
    torch.set_num_threads(1)  # a forked child has no other threads
    model, method, longest = job(name)
    chance, kills = random.Random(0), 0
    while kills < least or not file.exists():
        if file.exists():  # it got through too soon: once more, with less time for each child
            file.unlink()
            shutil.rmtree(file.with_name("state"))
            longest /= 2
        child = train(model, method, file.with_name("state"), file)
        if kills < least:
            time.sleep(chance.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        kills += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a child failed by itself"
    os.waitpid(train(model, method, None, file.with_stem(file.stem + "-undisturbed")), 0)
    print(kills, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 50)
