"""`AutoencoderKL` and `VQModel` of diffusers: the autoencoders of latent diffusion."""

import re
from collections.abc import Mapping

from vaejax import networks
from vaejax.core.types import Json, Options
from vaejax.interop.folders import Tensors
from vaejax.interop.formats import Format, refuse
from vaejax.interop.layouts import Tensor, conv, linear, norm
from vaejax.networks import Pair

__all__ = ["AUTOENCODER_KL", "VQ_MODEL", "attention_levels"]

_SHARED: Mapping[str, Json] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "mid_block_add_attention": True,
}
_PLAIN, _ATTENTION = (
    ("DownEncoderBlock2D", "UpDecoderBlock2D"),
    ("AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D"),
)
# Of checkpoints before diffusers 0.16, whose attention had other names.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def attention_levels(config: Options) -> tuple[int, ...]:
    """The levels whose blocks are each followed by attention.

    Raises:
      ValueError: a type of block is unknown, or encoder and decoder have other levels.
    """
    levels = []
    for name, plain, attention in zip(
        ("down_block_types", "up_block_types"), _PLAIN, _ATTENTION, strict=True
    ):
        types = list(config[name])
        unknown = [t for t in types if t not in (plain, attention)]
        if unknown or len(types) != len(config["block_out_channels"]):
            raise ValueError(
                f"config.json says {name}={types} for {len(config['block_out_channels'])} levels; "
                f"only {plain!r} and {attention!r} are supported, one for each level"
            )
        ordered = types if name == "down_block_types" else types[::-1]
        levels.append(tuple(i for i, t in enumerate(ordered) if t == attention))
    if levels[0] != levels[1]:
        raise ValueError(
            f"config.json says attention on the levels {levels[0]} of the encoder and {levels[1]} "
            "of the decoder; only the same levels are supported"
        )
    return levels[0]


def _networks(config: Options, dtype: str, features: int, **options: Json) -> Pair:
    refuse(config, "act_fn", "silu", "swish")
    channels = tuple(config["block_out_channels"])
    size = 2 ** (len(channels) - 1)  # of any image that is accepted
    setting = {
        "kind": "latent_diffusion",
        "channels": channels,
        "blocks": config["layers_per_block"],
        "groups": config["norm_num_groups"],
        "attention": config["mid_block_add_attention"],
        "attention_levels": attention_levels(config),
        "dtype": dtype,
        **options,
    }
    return networks.build(
        setting, (size, size, config["in_channels"]), features, config["out_channels"]
    )


def _kl_networks(config: Options, dtype: str) -> Pair:
    quant = {"quant_conv": config["use_quant_conv"]}
    quant["post_quant_conv"] = config["use_post_quant_conv"]
    return _networks(config, dtype, 2 * config["latent_channels"], **quant)


def _vq_networks(config: Options, dtype: str) -> Pair:
    refuse(config, "norm_type", "group")
    dim = config["vq_embed_dim"] or config["latent_channels"]
    return _networks(config, dtype, dim, latent_channels=config["latent_channels"])


def _block(path: str, name: str, shortcut: bool) -> list[Tensor]:
    layers = [*norm(f"{path}/norm1", f"{name}.norm1"), *conv(f"{path}/conv1", f"{name}.conv1")]
    layers += [*norm(f"{path}/norm2", f"{name}.norm2"), *conv(f"{path}/conv2", f"{name}.conv2")]
    return layers + (conv(f"{path}/shortcut", f"{name}.conv_shortcut") if shortcut else [])


def _attention(path: str, name: str) -> list[Tensor]:
    layers = norm(f"{path}/norm", f"{name}.group_norm")
    for own, theirs in zip(("query", "key", "value", "out"), _OLD_ATTENTION.values(), strict=True):
        layers += linear(f"{path}/{own}", f"{name}.{theirs}")
    return layers


def _half(config: Options, half: str) -> list[Tensor]:
    """The layers of the `encoder` or `decoder`, but for the 1×1 convolution at its outer end."""
    channels, down = list(config["block_out_channels"]), half == "encoder"
    count, side = len(channels), "down" if down else "up"
    layers = conv(f"{half}/conv_in", f"{half}.conv_in")
    width = channels[0] if down else channels[-1]
    for i in range(count):  # in the order of the computation, which numbers their blocks
        level = i if down else count - 1 - i
        name = f"{half}.{side}_blocks.{i}"
        for j in range(config["layers_per_block"] + (not down)):
            other = width != channels[level]
            layers += _block(f"{half}/{side}_{level}_block_{j}", f"{name}.resnets.{j}", other)
            width = channels[level]
            if level in attention_levels(config):
                path = f"{half}/{side}_{level}_attention_{j}"
                layers += _attention(path, f"{name}.attentions.{j}")
        if i < count - 1:
            sample = "downsample" if down else "upsample"
            layers += conv(f"{half}/{side}_{level}_{sample}/conv", f"{name}.{sample}rs.0.conv")
    for j in range(2):
        layers += _block(f"{half}/mid_block_{j}", f"{half}.mid_block.resnets.{j}", False)
    if config["mid_block_add_attention"]:
        layers += _attention(f"{half}/mid_attention", f"{half}.mid_block.attentions.0")
    layers += norm(f"{half}/norm_out", f"{half}.conv_norm_out")
    return layers + conv(f"{half}/conv_out", f"{half}.conv_out")


def _layout(config: Options) -> list[Tensor]:
    layers = _half(config, "encoder") + _half(config, "decoder")
    if config.get("use_quant_conv", True):
        layers += conv("encoder/projection", "quant_conv")
    if config.get("use_post_quant_conv", True):
        layers += conv("decoder/projection", "post_quant_conv")
    return layers


def _vq_layout(config: Options) -> list[Tensor]:
    return [*_layout(config), Tensor("codebook", "quantize.embedding.weight", "plain")]


def _read(tensors: Tensors, config: Options) -> Tensors:
    """Names of the attention before diffusers 0.16 replaced by the present ones."""
    del config
    old = re.compile(rf"(\.attentions\.\d+\.)({'|'.join(_OLD_ATTENTION)})\.")
    return {
        old.sub(lambda found: f"{found[1]}{_OLD_ATTENTION[found[2]]}.", name): tensor
        for name, tensor in tensors.items()
    }


AUTOENCODER_KL = Format(
    "AutoencoderKL",
    "diffusers",
    "diffusion_pytorch_model",
    {
        **_SHARED,
        "latent_channels": 4,
        "shift_factor": None,
        "latents_mean": None,
        "latents_std": None,
        "force_upcast": True,
        "use_quant_conv": True,
        "use_post_quant_conv": True,
    },
    _kl_networks,
    _layout,
    _read,
)
VQ_MODEL = Format(
    "VQModel",
    "diffusers",
    "diffusion_pytorch_model",
    {
        **_SHARED,
        "latent_channels": 3,
        "num_vq_embeddings": 256,
        "vq_embed_dim": None,
        "norm_type": "group",
        "lookup_from_codebook": False,
        "force_upcast": False,
    },
    _vq_networks,
    _vq_layout,
    _read,
)
