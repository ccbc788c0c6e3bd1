"""Do the parts of a pipeline belong together? Looked at before anything is computed."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

log = logging.getLogger(__name__)

# A tokenizer that does not say how many tokens it keeps says a number far above this one.
UNLIMITED = 10**6

# What a network is whose input holds more than the latents, by its number of channels.
OTHER_NETWORKS = {
    "unet": {
        5: "a depth-to-image network",
        7: "an upscaler",
        8: "an editing network (InstructPix2Pix)",
        9: "an inpainting network",
    },
    "transformer": {
        32: "an editing or control network",
        33: "an inpainting network",
        128: "a control network (Canny or Depth)",
        384: "an inpainting network (Fill)",
    },
}


def check_present(pipe: Any, names: Sequence[str]) -> None:
    """Does a pipeline have the components that every prompt needs?

    Args:
        pipe: A diffusers pipeline.
        names: Names of components.

    Raises:
        InputError: One is missing.
    """
    for name in names:
        if getattr(pipe, name, None) is None:
            raise InputError(
                f"this {type(pipe).__name__} has no {name}: model_index.json must name it, and "
                "its folder must be there"
            )


def other_network(network: str, channels: int) -> str:
    """What a network is that does not take latents alone.

    Args:
        network: "unet" or "transformer".
        channels: Channels of its input.

    Returns:
        Such as "an inpainting network".
    """
    return OTHER_NETWORKS[network].get(channels, "made for another input than latents alone")


def check_channels(
    pipe: Any, network: str, per_latent: tuple[int, int], mask_channels: int = 0
) -> None:
    """Do the channels of denoiser and autoencoder agree?

    Args:
        pipe: A diffusers pipeline.
        network: Name of the component that denoises.
        per_latent: Channels of its input and of its prediction for each channel of the latents.
        mask_channels: Further channels of its input.

    Raises:
        InputError: It is an inpainting network or the like, or the autoencoder is another model's.
    """
    config, vae = getattr(pipe, network).config, pipe.vae.config
    inputs = int(config["in_channels"])
    outputs = int(config.get("out_channels") or inputs * per_latent[1] // per_latent[0])
    latents = vae.get("latent_channels") or vae.get("z_dim")
    expected = outputs * per_latent[0] // per_latent[1] + mask_channels
    if inputs != expected:
        raise InputError(
            f"the {network} takes {inputs} channels and predicts {outputs}: it is "
            f"{other_network(network, inputs)}, and only text-to-image models are supported, "
            f"which take {expected}; give the text-to-image model that it was made from"
        )
    if latents and inputs != latents * per_latent[0] + mask_channels:
        raise InputError(
            f"the autoencoder (vae) makes latents of {latents} channels, and the {network} takes "
            f"{inputs} channels, which is {inputs // per_latent[0]} of latents: they belong to "
            "two models"
        )


def latent_side(pipe: Any, network: str) -> int:
    """Height and width of the latents that a denoiser was made for.

    Args:
        pipe: A diffusers pipeline.
        network: Name of the component that denoises, whose configuration holds `sample_size`: a
            number, or two that are the same. Without one the autoencoder's counts.

    Returns:
        The side in latent pixels.

    Raises:
        InputError: The size is not that of a square, or is nowhere.
    """
    side = square_side(getattr(pipe, network).config.get("sample_size"), network)
    if side is not None:
        return side
    pixels = square_side(pipe.vae.config.get("sample_size"), "vae")
    if pixels is None:
        raise InputError(
            f"{network}/config.json has no sample_size, which says how large the images of this "
            "model are: write it there, in latent pixels"
        )
    return max(1, pixels // pipe.vae_scale_factor)


def check_size(pipe: Any, network: str) -> None:
    """Is the size of images known? The log says which is taken where the denoiser does not say it.

    Args:
        pipe: A diffusers pipeline.
        network: Name of the component that denoises. One without the setting `sample_size` has
            its size from the pipeline.

    Raises:
        InputError: See `latent_side`.
    """
    config = getattr(pipe, network).config
    if "sample_size" not in config:
        return
    side = latent_side(pipe, network)
    if config["sample_size"] is None:
        log.warning(
            "%s/config.json has no sample_size: images are sampled at the autoencoder's "
            "%d pixels; write sample_size there if the model was made for another size",
            network,
            side * pipe.vae_scale_factor,
        )


def square_side(size: Any, part: str) -> int | None:
    """The side of a square from a configuration's `sample_size`.

    Args:
        size: A whole number, a list or tuple of one or two equal ones, or None.
        part: The component, for the message.

    Returns:
        The side; None if the configuration does not say.

    Raises:
        InputError: It is anything else.
    """
    if size is None:
        return None
    sides = list(size) if isinstance(size, list | tuple) else [size]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not whole or len(sides) not in (1, 2) or min(sides) < 1:
        raise InputError(
            f"{part}/config.json has the sample_size {size!r}: it must be a whole number above 0"
        )
    if min(sides) != max(sides):
        raise InputError(
            f"{part}/config.json has the sample_size {list(sides)}: only square images are "
            f"supported, for example with the sample_size {max(sides)}"
        )
    return sides[0]


def check_tokenizers(pipe: Any, encoders: Sequence[str]) -> None:
    """Does each text encoder have a place and a vector for every token of its tokenizer?

    A CLIP tokenizer that does not say its greatest length gets the text encoder's.

    Args:
        pipe: A diffusers pipeline.
        encoders: Names of its text encoders ("text_encoder_2" belongs to "tokenizer_2").

    Raises:
        InputError: One does not.
    """
    for name in encoders:
        encoder = getattr(pipe, name, None)
        if encoder is None:
            continue
        tokenizer_name = name.replace("text_encoder", "tokenizer")
        check_present(pipe, [tokenizer_name])
        tokenizer: Any = getattr(pipe, tokenizer_name)
        check_vocabulary(tokenizer, tokenizer_name, encoder, name)
        if str(encoder.config.model_type).startswith("clip"):
            check_length(pipe, tokenizer_name, encoder, name)


def check_vocabulary(tokenizer: Any, tokenizer_name: str, encoder: Any, name: str) -> None:
    """Is there a vector for every token, and a token to pad with?

    Args:
        tokenizer: Of transformers.
        tokenizer_name: Its folder, for the message.
        encoder: The text encoder that reads its tokens.
        name: The encoder's folder, for the message.

    Raises:
        InputError: There is not.
    """
    if tokenizer.pad_token is None:
        raise InputError(
            f"the tokenizer in {tokenizer_name}/ has no pad_token: set it in "
            f"{tokenizer_name}/tokenizer_config.json (CLIP pads with its end token)"
        )
    rows = len(encoder.get_input_embeddings().weight)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest < 0:
        raise InputError(f"the tokenizer in {tokenizer_name}/ has an empty vocabulary")
    if highest >= rows:
        raise InputError(
            f"the tokenizer in {tokenizer_name}/ has token ids up to {highest}, and the token "
            f"embeddings of {name} have {rows} rows: they belong to two models, or tokens were "
            "added without their embeddings"
        )


def check_length(pipe: Any, tokenizer_name: str, encoder: Any, name: str) -> None:
    """Is there a position embedding for every token that the tokenizer keeps?

    Args:
        pipe: The pipeline; a tokenizer without a limit gets the encoder's.
        tokenizer_name: Of its tokenizer.
        encoder: The text encoder that reads its tokens.
        name: The encoder's folder, for the message.

    Raises:
        InputError: There is not.
    """
    tokenizer: Any = getattr(pipe, tokenizer_name)
    text = getattr(encoder.config, "text_config", None) or encoder.config
    places = int(text.max_position_embeddings)
    length = tokenizer.model_max_length
    if length is None or (isinstance(length, int | float) and length > UNLIMITED):
        tokenizer.model_max_length = places
        if tokenizer_name == "tokenizer" and hasattr(pipe, "tokenizer_max_length"):
            pipe.tokenizer_max_length = places
        return
    if not isinstance(length, int) or not 2 < length <= places:
        raise InputError(
            f"the tokenizer in {tokenizer_name}/ keeps {length} tokens (model_max_length), and "
            f"{name} has {places} position embeddings: set model_max_length to {places} in "
            f"{tokenizer_name}/tokenizer_config.json"
        )


def check_widths(pipe: Any, network: str, widths: Mapping[str, int]) -> None:
    """Does the denoiser read what the text encoders put out?

    Args:
        pipe: A diffusers pipeline.
        network: Name of the component that denoises.
        widths: What the text encoders put out, by the setting of the denoiser that must be equal.

    Raises:
        InputError: It was made for other text encoders.
    """
    for key, width in widths.items():
        value = getattr(pipe, network).config.get(key)
        read = set(value) if isinstance(value, list | tuple) else {value}
        if read - {width, None}:
            raise InputError(
                f"the {network} reads prompts of width {value} ({key}), and the text encoders "
                f"put out {width}: they belong to two models"
            )


def check_complete(pipe: Any, name: str) -> None:
    """Were all tensors of a pipeline in its files?

    Args:
        pipe: A diffusers pipeline that was loaded with its weights.
        name: The model, for the message.

    Raises:
        InputError: One was not.
    """
    for component, path, tensor in all_tensors(pipe):
        if tensor.is_meta:
            raise InputError(
                f'"{name}" is not complete: the weights of {component} have no {path}; '
                "download it again"
            )


def check_finite(pipe: Any, name: str) -> None:
    """Are all weights of a pipeline numbers?

    Args:
        pipe: A diffusers pipeline, on its device.
        name: The model, for the message.

    Raises:
        InputError: One holds NaN or infinity.
    """
    for component, path, tensor in all_tensors(pipe):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f'"{name}" is damaged: {component}.{path} holds NaN or infinity; download it '
                "again, or load it in another precision (--dtype)"
            )


def all_tensors(pipe: Any) -> Iterator[tuple[str, str, Tensor]]:
    """Every tensor of a pipeline's networks: (component, path, tensor).

    Args:
        pipe: A diffusers pipeline; components that are not networks, such as tokenizers, are
            skipped.

    Returns:
        For example ("unet", "conv_in.weight", its tensor); buffers of the state dict included.
    """
    for component, module in pipe.components.items():
        if isinstance(module, nn.Module):
            for path, tensor in module.state_dict().items():
                yield component, path, tensor
