"""Random augmentation of the ECGs of a batch: crop, amplitude, missing leads and noise.

Plain functions that compute on the device of the batch. keys: a number for each ECG, from which its random numbers
follow (see `random_keys`), so that an ECG is changed in the same way in any batch. No function waits for a GPU.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.errors import ECGError
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.random_numbers import Purpose, normal, uniform

Keys = Int64[Tensor, " b"]


@dataclass(frozen=True)
class Augmentation:
    """Which augmentations are applied, and how strongly; by default none.

    crop_patches: of `random_crop`, in the model's patches. scale_jitter: of `random_amplitude`. lead_dropout: the
    probability of `random_lead_dropout`. noise_mv: of `random_noise`.
    """

    crop_patches: int = 0
    scale_jitter: float = 0.0
    lead_dropout: float = 0.0
    noise_mv: float = 0.0

    def __post_init__(self) -> None:
        if self.crop_patches < 0 or self.crop_patches == 1:
            raise ECGError(
                f"The crop_patches are {self.crop_patches}, but they must be 2 or more, or 0 for complete ECGs."
            )
        for name in ("scale_jitter", "lead_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ECGError(f"The {name} is {getattr(self, name):g}, but it must be at least 0 and below 1.")
        if not 0 <= self.noise_mv < float("inf"):
            raise ECGError(f"The noise_mv is {self.noise_mv:g}, but it must be 0 or more.")

    def check(self, model: LAMAEConfig, samples: int) -> None:
        """Refuse a crop that is longer than the ECGs or than the model's input (ECGError)."""
        most = min(samples // model.patch_samples, model.max_patches)
        if self.crop_patches > most:
            raise ECGError(
                f"The crop_patches are {self.crop_patches}, but the model reads {most} patches of these ECGs."
            )

    def __call__(self, batch: Batch, keys: Keys, patch_samples: int) -> Batch:
        """The augmented batch; the same batch if no augmentation is chosen."""
        if self.crop_patches:
            batch = random_crop(batch, self.crop_patches * patch_samples, keys)
        if self.scale_jitter:
            batch = random_amplitude(batch, self.scale_jitter, keys)
        if self.lead_dropout:
            batch = random_lead_dropout(batch, self.lead_dropout, keys)
        if self.noise_mv:
            batch = random_noise(batch, self.noise_mv, keys)
        return batch


def random_crop(batch: Batch, samples: int, keys: Keys) -> Batch:
    """A segment of each ECG, the same for all leads, so that beats are not always at the same time.

    Its start is uniform over the ECG; it has `samples` samples. ECGError if the ECGs are shorter. Source: He et al.,
    arXiv 2111.06377, where masked autoencoding works well with cropping alone.
    """
    available = batch.signal_mv.shape[2]
    if not 0 < samples <= available:
        raise ECGError(f"{samples} samples cannot be cropped from ECGs of {available}; choose a shorter crop.")
    device = batch.signal_mv.device
    start = (uniform(keys, Purpose.CROP, (1, 1)) * (available - samples + 1)).long()
    time_steps = start + torch.arange(samples, device=device)
    return replace(batch, signal_mv=batch.signal_mv.gather(2, time_steps.expand(-1, len(batch.leads), -1)))


def random_amplitude(batch: Batch, jitter: float, keys: Keys) -> Batch:
    """Scale each ECG, all leads by the same factor, as amplitudes differ between slender and heavy patients.

    The factor is uniform from 1 - jitter to 1 + jitter. A model that divides each lead or record by its own
    standard deviation reads it only with `amplitude_input`. Source: Mehari and Strodthoff, arXiv 2103.12676.
    """
    factor = 1 + jitter * (2 * uniform(keys, Purpose.AMPLITUDE, (1, 1)) - 1)
    return replace(batch, signal_mv=batch.signal_mv * factor)


def random_lead_dropout(batch: Batch, probability: float, keys: Keys) -> Batch:
    """Remove leads as if they had not been recorded, so that the model learns from devices with fewer leads.

    Each lead of each ECG is removed with this probability; at least one always stays. Unlike masked leads, these are
    not reconstructed. Source: random lead masking, Oh et al., arXiv 2203.06889.
    """
    noise = uniform(keys, Purpose.LEAD_DROPOUT, (len(batch.leads),)).masked_fill(~batch.lead_mask, -1.0)
    last = noise == noise.amax(dim=1, keepdim=True)
    lead_mask = batch.lead_mask & ((noise >= probability) | last)
    return replace(batch, signal_mv=batch.signal_mv * lead_mask[:, :, None], lead_mask=lead_mask)


def random_noise(batch: Batch, noise_mv: float, keys: Keys) -> Batch:
    """White Gaussian noise on every recorded lead, as from muscles and amplifiers.

    noise_mv: its standard deviation. Source: Mehari and Strodthoff, arXiv 2103.12676.
    """
    noise = normal(keys, Purpose.NOISE, tuple(batch.signal_mv.shape[1:]))
    return replace(batch, signal_mv=batch.signal_mv + noise_mv * noise * batch.lead_mask[:, :, None])
