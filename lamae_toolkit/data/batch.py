"""A batch: several ECGs of one length as one array, as the model takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from lamae_toolkit.ecg.leads import LEADS, check_leads
from lamae_toolkit.ecg.preprocess import crop, resample
from lamae_toolkit.ecg.recording import Recording
from lamae_toolkit.errors import ECGError


@dataclass(frozen=True, eq=False)
class Batch:
    """Several ECGs of one length as one array in mV, as the model takes them; `collate` makes one of recordings.

    signal_mv: (b, l, t), float32. lead_mask: (b, l), True where that ECG has that lead; the row of an absent lead
        is ignored. leads: the name of each lead row, in any order. amplitude_known: (b,), False for an ECG whose
        leads were divided by their standard deviations, so that one unit is no millivolt; None if all are in mV.

    Raises ECGError if a lead name is unknown or twice, or if the shapes do not fit.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        random = np.random.default_rng(1)
        ecg = lt.simulate_ecg(lt.sample_patient(1, random), random).recording
        batch = lt.collate([ecg, ecg.select(["I", "II", "V2"])])
        print(batch.signal_mv.shape, batch.lead_mask.sum(dim=1))
        print(batch.select(["II"]).signal_mv.shape)
    """

    signal_mv: Float[torch.Tensor, "b l t"]
    lead_mask: Bool[torch.Tensor, "b l"]
    leads: tuple[str, ...] = LEADS
    amplitude_known: Bool[torch.Tensor, " b"] | None = None

    def __post_init__(self) -> None:
        check_leads(self.leads)
        if self.signal_mv.shape[:2] != self.lead_mask.shape or self.signal_mv.shape[1] != len(self.leads):
            raise ECGError(
                f"A batch of shape {tuple(self.signal_mv.shape)} does not fit {len(self.leads)} lead names"
                f" and a lead mask of shape {tuple(self.lead_mask.shape)}."
            )

    def __len__(self) -> int:
        return len(self.signal_mv)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return self._each(lambda part: part.to(device))

    def rows(self, rows: slice | torch.Tensor) -> "Batch":
        """Some of the ECGs, also several times."""
        return self._each(lambda part: part[rows])

    def lead_indices(self) -> Int64[torch.Tensor, " l"]:
        """The index of each lead of the batch in LEADS."""
        device = self.lead_mask.device
        if self.leads == LEADS:  # made on the device: a list would be copied, for which a GPU waits
            return torch.arange(len(LEADS), device=device)
        return torch.tensor([LEADS.index(name) for name in self.leads], device=device)

    def in_mv(self) -> Bool[torch.Tensor, " b"]:
        """Which ECGs are in millivolts."""
        return torch.ones_like(self.lead_mask[:, 0]) if self.amplitude_known is None else self.amplitude_known

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        known = None if self.amplitude_known is None else change(self.amplitude_known)
        return replace(self, signal_mv=change(self.signal_mv), lead_mask=change(self.lead_mask), amplitude_known=known)

    def select(self, leads: Sequence[str]) -> "Batch":
        """The same ECGs with only these leads, in this order."""
        if tuple(leads) == self.leads:
            return self
        missing = [name for name in leads if name not in self.leads]
        if missing:
            raise ECGError(f"Lead {missing[0]} is not in this batch, which has {', '.join(self.leads)}.")
        rows = [self.leads.index(name) for name in leads]
        return Batch(self.signal_mv[:, rows], self.lead_mask[:, rows], tuple(leads), self.amplitude_known)


def collate(recordings: Sequence[Recording], sampling_rate_hz: float = 100.0, duration_s: float = 10.0) -> Batch:
    """Several ECGs as one batch of twelve leads: resampled, and the first `duration_s` seconds of each.

    recordings: ECGs of any sampling rate and any leads. sampling_rate_hz, duration_s: of the batch.

    ECGs shorter than that are kept complete, but all must then be equally long (ECGError): a model reads any length up
    to its maximum, one length per batch. Raises ECGError also if there is no ECG.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        patient = lt.sample_patient(1, np.random.default_rng(1))
        ecgs = [lt.simulate_ecg(patient, np.random.default_rng(seed)).recording for seed in (1, 2)]
        print(lt.collate(ecgs).signal_mv.shape)  # 2 ECGs, 12 leads, 1000 samples
    """
    if not recordings:
        raise ECGError("A batch needs at least one ECG.")
    samples = round(duration_s * sampling_rate_hz)
    resampled = [
        resample(crop(recording, 0.0, min(duration_s, recording.duration_s)), sampling_rate_hz)
        for recording in recordings
    ]
    lengths = {min(recording.signal_mv.shape[1], samples) for recording in resampled}
    if len(lengths) > 1:
        raise ECGError(
            f"These ECGs last from {min(lengths) / sampling_rate_hz:g} to {max(lengths) / sampling_rate_hz:g} s;"
            " put ECGs of one length into a batch."
        )
    signal_mv = np.zeros((len(recordings), len(LEADS), lengths.pop()), dtype=np.float32)
    lead_mask = np.zeros((len(recordings), len(LEADS)), dtype=bool)
    for row, recording in enumerate(resampled):
        columns = [LEADS.index(name) for name in recording.leads]
        signal_mv[row, columns] = recording.signal_mv[:, : signal_mv.shape[2]]
        lead_mask[row, columns] = True
    return Batch(torch.from_numpy(signal_mv), torch.from_numpy(lead_mask))
