"""Losses as composable transforms: `(losses, params, trace, key) -> losses` with new names added.

A loss is in nats: `[B]` per example, `[B, L]` per example and stochastic node (so that weights and
logs can be per node), or `[]` for a statistic of the whole batch. The transforms:

- `nll`: −log p(x | z) (VAE, 1312.6114).
- `nll_optimal`: nll under the optimal σ of a Gaussian (σ-VAE, 2006.13202).
- `kl`: KL(q ‖ p) of each node (VAE, 1312.6114).
- `capacity`: |KL − C(t)| (controlled capacity of β-VAE, 1804.03599).
- `free_bits`: KL with a floor for each node or dimension (IAF, 1606.04934).
- `kl_balancing`: KL weighted by node during warm-up (NVAE, 2007.03898).
- `geco`: a constraint on a loss with a learned Lagrange multiplier (GECO, 1810.00597).
- `decomposition`: mutual information, total correlation, dimension-wise KL (β-TCVAE, 1802.04942).
- `total_correlation`: total correlation by a discriminator (FactorVAE, 1802.05983).
- `dip`: covariance of the aggregate posterior against I (DIP-VAE, 1711.00848).
- `mmd`: MMD between aggregate posterior and prior (InfoVAE, 1706.02262; WAE-MMD, 1711.01558).
- `iwae`: importance-weighted bound (IWAE, 1509.00519).
- `dreg`: the same bound with doubly reparameterised gradients (DReG, 1810.04152).
- `adversarial`: GAN losses and feature matching (VAE-GAN, 1512.09300; VQGAN, 2012.09841).
- `perceptual`: distance of the features of a fixed network (LPIPS, 1801.03924).
- `spectral`: distances of spectra and mel spectra (Parallel WaveGAN, 1910.11480; DAC, 2306.06546).
- `balanced`: losses with fixed shares of the gradient (EnCodec, 2210.13438).
- `vq`: distance between features and codes (VQ-VAE, 1711.00937).
- `code_entropies`: entropies of lookup-free codes (MAGVIT-v2, 2310.05737).
- `label_nll`: −log q(y | x) of labelled examples (M2, 1406.5298).
- `gsnn`: nll at a sample from the conditional prior (CVAE, Sohn et al., NeurIPS 2015).
- `baseline_nll`: nll of a network without latents (CVAE, Sohn et al., NeurIPS 2015).
- `sparsity_kl`: sparsity of a prior of pseudo-inputs (variational sparse coding, Tonolini 2019).
- `spike_and_slab_lasso`: sparsity prior of decoder weights (sparse VAE, 2110.10804).
- `ridge`: Gaussian prior of decoder kernels (used with the former).
"""

from vaejax.losses.adaptive_weight import AdaptiveWeight, gradient_ratio
from vaejax.losses.adversarial import adversarial
from vaejax.losses.aggregate_posterior import decomposition, dip
from vaejax.losses.balanced import balanced
from vaejax.losses.base import event_log_prob, squared_error, stateless, sum_event
from vaejax.losses.classification import label_nll
from vaejax.losses.conditional import baseline_nll, gsnn
from vaejax.losses.constraints import free_bits, geco, kl_balancing
from vaejax.losses.elbo import capacity, kl, nll, nll_optimal, node_kl, sampled_kl
from vaejax.losses.iwae import dreg, iwae
from vaejax.losses.mmd import mmd, squared_mmd
from vaejax.losses.perceptual import FeatureMaps, perceptual, perceptual_distance
from vaejax.losses.quantization import code_entropies, vq
from vaejax.losses.sparsity import ridge, sparsity_kl, spike_and_slab_lasso
from vaejax.losses.spectral import mel_distance, spectral, stft_distance
from vaejax.losses.total_correlation import total_correlation

__all__ = [
    "AdaptiveWeight",
    "FeatureMaps",
    "adversarial",
    "balanced",
    "baseline_nll",
    "capacity",
    "code_entropies",
    "decomposition",
    "dip",
    "dreg",
    "event_log_prob",
    "free_bits",
    "geco",
    "gradient_ratio",
    "gsnn",
    "iwae",
    "kl",
    "kl_balancing",
    "label_nll",
    "mel_distance",
    "mmd",
    "nll",
    "nll_optimal",
    "node_kl",
    "perceptual",
    "perceptual_distance",
    "ridge",
    "sampled_kl",
    "sparsity_kl",
    "spectral",
    "spike_and_slab_lasso",
    "squared_error",
    "squared_mmd",
    "stateless",
    "stft_distance",
    "sum_event",
    "total_correlation",
    "vq",
]
