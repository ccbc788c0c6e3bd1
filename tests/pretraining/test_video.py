"""The training of `emoji-video`: where it begins, what it sees, and that it resumes."""

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from support.tiny_pipelines import tiny_parts

from pretraining import motion_judge, video
from pretraining import video_clips as clips
from pretraining.video_evaluation import draw_cases
from pretraining.video_unet import (
    choose_frames,
    inflate,
    motion_modules,
    position_codes,
    skip_fine,
    trained_parameters,
)
from unconcept import wrap
from unconcept.models.emoji.motions import FRAMES, MOTIONS, motion_of
from unconcept.models.emoji.vocabulary import OBJECTS


def image_unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    ).eval()


@pytest.fixture(scope="module")
def unets():
    image = image_unet()
    return image, inflate(image).eval()


@torch.no_grad()
def test_the_video_model_begins_as_the_image_model(unets):
    image, inflated = unets
    x, states = torch.randn(1, 4, 2, 16, 16), torch.randn(1, 5, 16)
    t = torch.tensor([500])
    clip = inflated(x, t, states.repeat_interleave(2, 0)).sample
    for f in range(2):
        torch.testing.assert_close(
            clip[:, :, f], image(x[:, :, f], t, states).sample, atol=1e-5, rtol=1e-4
        )


@torch.no_grad()
def test_half_of_the_temporal_heads_look_up_their_own_frame(unets):
    module = motion_modules(unets[1])["mid_block.motion_modules.0"]
    block = module.transformer_blocks[0]
    codes = block.pos_embed.pe[:, :FRAMES]
    attention = block.attn1
    q = attention.head_to_batch_dim(attention.to_q(codes))
    k = attention.head_to_batch_dim(attention.to_k(codes))
    weights = attention.get_attention_scores(q, k)  # [heads, frames, frames]
    own = weights.diagonal(dim1=1, dim2=2)
    assert bool((own[:2] > weights[:2].mean()).all())
    ends = torch.stack([weights[:2, 0, -1], weights[:2, -1, 0]])
    assert bool((ends < own[:2].min() / 5).all())
    assert weights[2:].std() < weights[:2].std()


def test_motion_modules_and_cross_attention_are_trained(unets):
    names = trained_parameters(unets[1], fine=False)
    assert all("motion_modules" in name or ".attn2." in name for name in names)
    assert not any(name.startswith(("down_blocks.0", "up_blocks.2")) for name in names)
    assert len(trained_parameters(unets[1], fine=True)) > len(names)


@torch.no_grad()
def test_modules_that_are_skipped_change_nothing():
    inflated = inflate(image_unet()).eval()
    for name, module in motion_modules(inflated).items():
        if not name.startswith(("down_blocks.0", "up_blocks.2")):
            torch.nn.init.normal_(module.proj_out.weight, std=0.1)
    arguments = (torch.randn(1, 4, 2, 16, 16), torch.tensor([500]), torch.randn(2, 5, 16))
    before = inflated(*arguments).sample
    skip_fine(inflated)
    torch.testing.assert_close(inflated(*arguments).sample, before)


@torch.no_grad()
def test_some_frames_have_the_position_codes_that_they_have_in_a_whole_clip(unets):
    inflated = unets[1]
    codes = position_codes(inflated)
    choose_frames(inflated, codes, [1, 6])
    assert torch.equal(position_codes(inflated)[0], codes[0][:, [1, 6]])
    choose_frames(inflated, codes, range(codes[0].shape[1]))
    assert torch.equal(position_codes(inflated)[0], codes[0])


@pytest.fixture
def shard(tmp_path):
    """A shard of noise, so that nothing has to be drawn and encoded."""
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = torch.randint(0, 40, (len(OBJECTS), len(MOTIONS), FRAMES), generator=generator)
    tensors = {
        "frames": torch.randn(40, 4, 16, 16, generator=generator).half(),
        "rows": rows.int(),
        "stills": torch.randn(clips.STILLS, 4, 16, 16, generator=generator).half(),
        "labels": torch.tensor([[0, -1, 0, 0]] * clips.STILLS).short(),
    }
    save_file(tensors, folder / "00.safetensors")
    return tmp_path


def test_held_out_pairs_are_never_drawn(shard):
    store = clips.Clips(shard / "clips", 1)
    seen = set()
    store.clip = lambda shard, thing, motion: seen.add((thing, motion))
    captions = set()
    for i in range(600):
        rng = np.random.default_rng(i)
        group = store.draw_group(rng.choice(tuple(MOTIONS), 2, replace=False), rng)
        captions.update(clip.caption for clip in group)
    assert len(seen) > 300
    assert not any(clips.held_out(*pair) for pair in seen)
    assert "" in captions
    assert {motion_of(text) for text in captions} >= set(MOTIONS)


def test_the_training_resumes(shard, monkeypatch):
    unet = image_unet()
    parts = tiny_parts("v_prediction")
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    pipe = StableDiffusionPipeline(
        **{**parts, "unet": unet, "safety_checker": None, "feature_extractor": None}
    )
    model = wrap(pipe)
    monkeypatch.setattr(video.emoji, "load", lambda: model)
    monkeypatch.setattr(video, "BATCH", 8)
    monkeypatch.setattr(video, "rate", lambda step, steps, warmup: 1.0)
    monkeypatch.setattr(video, "LOOK", 2)
    monkeypatch.setattr(video, "MOTIONS", ("left",))  # that are looked at
    first, second = shard / "first", shard / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "clips").symlink_to(shard / "clips")
    whole = video.train(first, video.Amount(1, 2)).state_dict()
    video.train(second, video.Amount(1, 1))
    resumed = video.train(second, video.Amount(1, 2)).state_dict()
    changed = 0
    start = inflate(unet).state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)
        changed += not torch.equal(value, start[name]) and "proj_out" in name
    assert changed


def test_the_error_is_split_into_what_moves_and_what_does_not():
    x = torch.randn(2, 3, 4, 5, 5)
    constant, moving = video.by_motion(x)
    torch.testing.assert_close(constant + moving, x.square().mean((1, 2, 3, 4)))
    assert video.by_motion(x[:, :, :1].expand(-1, -1, 4, -1, -1))[1].max() < 1e-10


def test_prompts_of_an_evaluation_name_their_motion():
    for case in draw_cases(16, tuple(MOTIONS)):
        assert motion_of(case.prompt) == tuple(MOTIONS)[case.motion]


def test_frames_in_random_order_do_not_go_forwards_or_backwards():
    for seed in range(20):
        order = motion_judge.shuffled_order(np.random.default_rng(seed))
        assert abs(np.corrcoef(order, np.arange(FRAMES))[0, 1]) < 0.6
