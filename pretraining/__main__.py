"""`make embedded-model`: from the npm packages to the weights in the package.

Kill it whenever you like; the same command goes on.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from unconcept.errors import InputError
from unconcept.evaluation.emoji.rendering import ONE_HAND
from unconcept.models import wrap
from unconcept.models.emoji.vocabulary import WORDS

from . import dataset as pictures
from . import emoji_atlas as atlas
from . import evaluate as quality
from . import judge, motion_judge, unaware, video
from . import package_weights as export
from . import text_encoder as text
from . import tokenizer as tokens
from . import unet as denoiser
from . import vae as autoencoder
from .checkpoint import Checkpoint
from .excluded import Excluded

WORK = Path(__file__).parent / ".work"


def main() -> None:
    others = {"video": video.main, "motion-judge": motion_judge.main}
    if sys.argv[1:2] and sys.argv[1] in others:
        others[sys.argv[1]](sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m pretraining", description=__doc__)
    parser.add_argument("--shards", type=int, default=24, help="of 2,048 pictures")
    parser.add_argument("--autoencoder-steps", type=int, default=1200)
    parser.add_argument("--decoder-steps", type=int, default=1600)
    parser.add_argument("--judge-steps", type=int, default=4000)
    parser.add_argument("--text-steps", type=int, default=1700)
    parser.add_argument("--denoiser-steps", type=int, default=23000)
    parser.add_argument("--prompts", type=int, default=1000, help="for the measurement at the end")
    parser.add_argument(
        "--export-now",
        action="store_true",
        help="write the package's copy from the checkpoints as they are",
    )
    parser.add_argument(
        "--from-package",
        action="store_true",
        help="stages without a checkpoint begin with the package's weights",
    )
    parser.add_argument(
        "--without",
        metavar="CONCEPTS",
        help="train a model beside the package's that never sees these (comma-separated)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=WORK / "unaware",
        help="with --without: folder of the state and of the model",
    )
    given = parser.parse_args()
    if given.without:
        amount = unaware.Amount(given.shards, given.text_steps, given.denoiser_steps, given.prompts)
        try:
            excluded = Excluded.parse(name.strip() for name in given.without.split(","))
            unaware.train(given.work, excluded, amount, given.export_now)
        except InputError as error:
            parser.error(str(error))
        return

    def say(stage: str) -> None:
        print(f"== {stage}", file=sys.stderr, flush=True)

    steps = (lambda n: 0) if given.export_now else (lambda n: n)

    WORK.mkdir(exist_ok=True)
    if given.from_package:
        export.unpack(WORK)
    say("1 atlas")
    atlas.packages()
    atlas.make()
    unknowns = atlas.make_unknown(WORK / "unknown")
    say("2 pictures")
    pictures.make(WORK / "pictures", range(given.shards))
    pictures.make(WORK / "one-hand", range(given.shards, 2 * given.shards), ONE_HAND, aligned=True)
    drawn, labels = pictures.load(WORK / "pictures")
    say("3 autoencoder")
    vae = autoencoder.balance(autoencoder.train(WORK, drawn, steps(given.autoencoder_steps)))
    say("4 tokenizer and text encoder")
    tokenizer = tokens.make()
    encoder = text.train(WORK, tokenizer, steps(given.text_steps))
    say("5 denoiser")
    to_draw, meant = pictures.load(WORK / "one-hand")
    latents = autoencoder.cached_latents(WORK, vae, to_draw)
    scale = float(1 / latents.float().std())
    denoiser_steps = steps(given.denoiser_steps)
    training = denoiser.Training(latents, meant, encoder, tokenizer, denoiser_steps, scale)
    unet = denoiser.train(WORK, training)
    say("6 decoder")
    vae = autoencoder.refine(WORK, drawn, vae, steps(given.decoder_steps))
    say("7 judge")
    referee = judge.train(WORK, drawn, labels, unknowns, steps(given.judge_steps))
    say("8 measurement and export")
    pipe = export.pipeline(encoder, tokenizer, vae, unet, scale)
    model = wrap(pipe, WORDS)
    torch.manual_seed(0)
    measured = {
        "judge": judge.examine(referee, unknowns),
        "confusions": judge.confusions(referee),
        "model": quality.measure(model, referee, given.prompts),
        "prompts": given.prompts,
    }
    taken = {
        part: Checkpoint(WORK / f"{part}.pt").step
        for part in ("autoencoder", "text", "denoiser", "decoder", "judge")
    }
    export.write(pipe, referee, measured, len(drawn) + len(to_draw), taken)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
