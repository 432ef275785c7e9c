"""One recording: a signal in mV with its leads by name, and Einthoven's relations between the leads.

Shape legend of the whole toolkit: `b` record, `l` lead, `t` sample, `n` patch, `p` samples per
patch, `m` latent, `h` head, `e` head width, `d` width, `c` ICD-10 code.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from lamae_toolkit.ecg.leads import FROM_I_AND_II, check_leads
from lamae_toolkit.errors import ECGError

MIN_RATE_HZ, MAX_RATE_HZ = 50.0, 2000.0


@dataclass(frozen=True, eq=False)
class Recording:
    """One ECG: a signal in millivolts, its sampling rate and the names of its leads.

    signal_mv: (l, t), leads by samples, float32, every value finite.
    sampling_rate_hz: samples per second, from 50 to 2000.
    leads: a name from `LEADS` for each row, each at most once, in any order. A lead that was not
        recorded, or is flat or invalid, is simply absent.
    notes: what a reader changed or found, one sentence each.
    flags: what a reader found in single leads, as (lead, flag), also of leads that it left out: "nan"
        where samples were missing, "flat" where nothing was recorded.

    Raises ECGError if one of these conditions does not hold.

    Example:
        import numpy as np
        import lamae_toolkit as lt

        noise_mv = np.random.default_rng(0).normal(0, 0.1, (2, 5000))
        ecg = lt.Recording(noise_mv, 500, ("I", "II"))
        ecg.duration_s  # 10.0
        ecg.lead("II")  # the samples of lead II in mV
    """

    signal_mv: Float[np.ndarray, "l t"]
    sampling_rate_hz: float | int
    leads: tuple[str, ...]
    notes: tuple[str, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        signal_mv = np.ascontiguousarray(self.signal_mv, dtype=np.float32)
        object.__setattr__(self, "signal_mv", signal_mv)
        object.__setattr__(self, "sampling_rate_hz", float(self.sampling_rate_hz))
        object.__setattr__(self, "leads", tuple(self.leads))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "flags", tuple(self.flags))
        check_leads(self.leads)
        if len(self.leads) != len(signal_mv):
            raise ECGError(f"The signal has {len(signal_mv)} rows but {len(self.leads)} lead names; give one per row.")
        if signal_mv.size == 0:
            raise ECGError("The ECG has no leads or no samples; check how it was made.")
        if not MIN_RATE_HZ <= self.sampling_rate_hz <= MAX_RATE_HZ:
            raise ECGError(
                f"The sampling rate is {self.sampling_rate_hz:g} Hz, but an ECG is sampled at"
                f" {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz; check the rate and its unit."
            )
        if not np.isfinite(signal_mv).all():
            raise ECGError("The signal has values that are not finite; leave such leads out or fill the gaps first.")

    @property
    def duration_s(self) -> float:
        """Length of the ECG in seconds."""
        return self.signal_mv.shape[1] / self.sampling_rate_hz

    def lead(self, name: str) -> Float[np.ndarray, " t"]:
        """The signal of one lead in mV, by its name."""
        if name not in self.leads:
            raise ECGError(f"Lead {name} is not in this ECG, which has {', '.join(self.leads)}.")
        return self.signal_mv[self.leads.index(name)]

    def select(self, leads: tuple[str, ...] | list[str]) -> "Recording":
        """The same ECG with only these leads, in this order; ECGError if one is absent."""
        return replace(self, signal_mv=np.stack([self.lead(name) for name in leads]), leads=tuple(leads))

    def with_note(self, note: str) -> "Recording":
        """The same ECG with one more note."""
        return replace(self, notes=(*self.notes, note))


def einthoven_error_mv(recording: Recording) -> float:
    """The largest deviation of the limb leads from Einthoven's and Goldberger's relations, in mV.

    III = II - I, aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2, so six limb leads hold only two
    signals. Relations whose leads are absent are skipped; ECGError if none can be checked.
    """
    checkable = [name for name in FROM_I_AND_II if {"I", "II", name} <= set(recording.leads)]
    if not checkable:
        raise ECGError("Einthoven's relations need leads I and II and one more limb lead, and this ECG lacks them.")
    lead_I, lead_II = recording.lead("I"), recording.lead("II")
    return max(
        float(np.abs(recording.lead(name) - FROM_I_AND_II[name][0] * lead_I - FROM_I_AND_II[name][1] * lead_II).max())
        for name in checkable
    )
