"""The cases with pythae's trainers and the same networks."""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VQVAE, FactorVAE, FactorVAEConfig, VAEConfig, VQVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.trainers import (
    AdversarialTrainer,
    AdversarialTrainerConfig,
    BaseTrainer,
    BaseTrainerConfig,
)

from . import torch_parts
from .cases import CASES, UNIT, data
from .torch_models import discriminator, vae_networks

__all__ = ["train"]


class _Encoder(BaseEncoder):
    def __init__(self, net: torch.nn.Module, gaussian: bool) -> None:
        super().__init__()
        self.net, self.gaussian = net, gaussian

    def forward(self, x: torch.Tensor) -> ModelOutput:
        out = self.net(x)
        if not self.gaussian:
            return ModelOutput(embedding=out)
        mean, logvar = out.chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=logvar)


class _Decoder(BaseDecoder):
    def __init__(self, net: torch.nn.Module, shape: tuple[int, ...], squash: bool) -> None:
        super().__init__()
        self.net, self.shape, self.squash = net, shape, squash

    def forward(self, z: torch.Tensor) -> ModelOutput:
        out = self.net(z)
        out = torch.sigmoid(out) if self.squash else out
        return ModelOutput(reconstruction=out.reshape(-1, *self.shape))


class _Discriminator(BaseDiscriminator):
    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z)


def _model(name: str, shape: tuple[int, ...]) -> Any:
    case = CASES[name]
    if name == "vqvae":
        widths = case.hidden
        encoder = _Encoder(torch_parts.residual_encoder(*widths, case.latent), False)
        decoder = _Decoder(torch_parts.residual_decoder(*widths, case.latent), shape, False)
        config = VQVAEConfig(
            input_dim=shape, latent_dim=case.latent, num_embeddings=case.codes, use_ema=True
        )
        return VQVAE(config, encoder, decoder)
    squash = name != "tiny"
    encoder_net, decoder_net = vae_networks(name)
    both = _Encoder(encoder_net, True), _Decoder(decoder_net, shape, squash)
    loss = "bce" if squash else "mse"
    if name == "factor":
        config = FactorVAEConfig(
            input_dim=shape, latent_dim=case.latent, reconstruction_loss=loss, gamma=35.0
        )
        model = FactorVAE(config, *both)
        model.set_discriminator(
            _Discriminator(discriminator(case.latent))
        )  # pythae's has one layer less
        return model
    return VAE(VAEConfig(input_dim=shape, latent_dim=case.latent, reconstruction_loss=loss), *both)


def train(name: str, *, times: int = 1) -> tuple[Callable[[int], None], int]:
    """Training steps of pythae, an epoch of `UNIT` steps per call; the number of parameters.

    Args:
      name: of the case.
      times: factor of the batch size. pythae's FactorVAE trains the autoencoder on one half of the
        batch and the discriminator on the other; with 2 the autoencoder gets as many examples as
        those of the other competitors.
    """
    case, x = CASES[name], torch.from_numpy(data(name)).repeat_interleave(times, 0)
    x = x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x
    model = _model(name, tuple(x.shape[1:]))
    options = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": times * case.batch,
        "no_cuda": True,
    }
    dataset = BaseDataset(x, torch.zeros(len(x)))
    if name == "factor":
        trainer: Any = AdversarialTrainer(
            model, dataset, training_config=AdversarialTrainerConfig(**options)
        )
    else:
        trainer = BaseTrainer(model, dataset, training_config=BaseTrainerConfig(**options))
    trainer.prepare_training()
    trainer.callback_handler.on_train_begin(
        training_config=trainer.training_config, model_config=trainer.model_config
    )

    def take_steps(steps: int) -> None:
        for epoch in range(steps // UNIT):
            trainer.train_step(epoch)

    return take_steps, sum(p.numel() for p in model.parameters())
