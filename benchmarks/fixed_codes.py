"""Fixed codes and factors for comparing two implementations of a metric.

Needs only NumPy, so that the other implementation's environment can import it too.
"""

import numpy as np

__all__ = ["CASES", "SIZES", "TRAIN", "codes", "factors", "models", "plane"]

SIZES = (3, 6, 8, 10)  # classes of each factor; every combination occurs once
TRAIN = 960  # the first of the 1,440 rows are for training, the rest for testing
CASES = ("copies", "permuted", "rotated", "noisy", "redundant", "curved", "noise")


def factors() -> np.ndarray:
    """Factor classes int32 `[1440, 4]`, shuffled."""
    grid = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), axis=-1)
    rows = grid.reshape(-1, len(SIZES))
    return rows[np.random.RandomState(0).permutation(len(rows))].astype(np.int32)


def codes(case: str) -> np.ndarray:
    """Codes float32 `[1440, D]` of these factors.

    copies: each factor, standardised.
    permuted: copies in another order, two of them with opposite sign.
    rotated: copies rotated by 30° in the planes of the first two and of the last two.
    noisy: copies with noise of a third of their scale, a dimension of noise and a nearly constant
      dimension.
    redundant: copies, twice.
    curved: ten hyperbolic tangents of random mixtures, with a little noise.
    noise: six dimensions independent of the factors.
    """
    rng = np.random.RandomState(1 + CASES.index(case))
    y = factors().astype(np.float64)
    copies = (y - y.mean(axis=0)) / y.std(axis=0)
    normal = rng.standard_normal
    if case == "copies":
        z = copies
    elif case == "permuted":
        z = copies[:, [2, 0, 3, 1]] * [1, -1, 1, -1]
    elif case == "rotated":
        z = copies @ np.kron(np.eye(2), plane(30))
    elif case == "noisy":
        inactive = 0.01 * normal((len(y), 1))
        z = np.concatenate([copies + normal(y.shape) / 3, normal((len(y), 1)), inactive], axis=1)
    elif case == "redundant":
        z = np.concatenate([copies, copies], axis=1)
    elif case == "curved":
        z = np.tanh(copies @ normal((4, 10))) + 0.05 * normal((len(y), 10))
    else:
        z = normal((len(y), 6))
    return z.astype(np.float32)


def plane(degrees: float) -> np.ndarray:
    """The rotation matrix `[2, 2]` of the plane by this angle."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def models() -> tuple[np.ndarray, np.ndarray]:
    """Codes float32 `[4, 1440, 6]` of four models, and the KL of each dimension `[4, 6]`.

    Two models that agree up to order, sign and noise, a rotated one, and one of noise. Dimensions
    with a KL below 0.01 must be ignored by metrics, even if they correlate with others.
    """
    rng, noisy = np.random.RandomState(99), codes("noisy")
    other = noisy[:, [3, 5, 0, 2, 1, 4]] * [1, 1, -1, 1, -1, 1] + 0.2 * rng.standard_normal(
        (1440, 6)
    )
    rotated = noisy @ np.kron(np.eye(3), plane(40))
    kl = np.full((4, 6), 1.5)
    kl[0, 4:] = kl[1, [1, 5]] = kl[2, 5] = 0.002
    return np.stack([noisy, other, rotated, codes("noise")]).astype(np.float32), kl
