"""The twelve leads: their names, their directions, and how they are derived from the electrodes."""

import re

import numpy as np

from lamae_toolkit.errors import ECGError

LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
"""The six limb leads, which view the heart in the frontal plane."""

PRECORDIAL_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6")
"""The six chest leads, which view the heart in the horizontal plane."""

LEADS = LIMB_LEADS + PRECORDIAL_LEADS
"""The twelve leads in the toolkit's order. Leads are always identified by name, so any order works."""

LEAD_SUBSETS = {"12 leads": LEADS, "limb leads": LIMB_LEADS, "I, II, V2": ("I", "II", "V2"), "II": ("II",), "I": ("I",)}
"""Lead sets of devices in use, from the hospital cart to the wrist watch."""

FROM_I_AND_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
"""Einthoven's and Goldberger's relations: each of the other limb leads as a sum of leads I and II."""

FRONTAL_AXIS_DEG = {"I": 0, "II": 60, "III": 120, "aVR": -150, "aVL": -30, "aVF": 90}
"""Direction of each limb lead in the frontal plane: 0 points to the patient's left, 90 to the feet."""

HORIZONTAL_AXIS_DEG = {"V1": 115, "V2": 94, "V3": 75, "V4": 60, "V5": 30, "V6": 0}
"""Direction of each precordial lead in the horizontal plane: 0 points to the patient's left, 90 to the front."""


def lead_name(text: str) -> str | None:
    """The lead that `text` means, or None if it is none of the twelve: one rule for the files of all devices.

    Case, a unit and words around the name do not matter: "avf", "Lead II", "ECG II", "MDC_ECG_LEAD_II", "ECG I-Ref",
    "II (mV)", "V1_uV". DI, DII and DIII are what much of Europe and South America calls I, II and III; C1 to C6 are V1
    to V6 (but see `match_leads`, as an EEG has them as well); MLII is lead II with the electrodes on the torso.
    """
    # A minus in front stays: "-aVR" is the inverted lead of Cabrera's order, not aVR.
    match = _NAME.fullmatch(text.strip().lower())
    if match is None:
        return None
    limb, augmented, chest = match.group("limb", "augmented", "chest")
    return limb.upper() if limb else f"aV{augmented.upper()}" if augmented else f"V{chest}"


_NAME = re.compile(
    r"(?:(?:mdc|ecg|ekg|lead|elec|potl|abl|ableitung|derivation|derivación|dérivation)[ _.:]*)*"
    r"(?:(?:ml|d)?(?P<limb>i{1,3})|av[ _]?(?P<augmented>[rlf])|[vc][ _]?(?P<chest>[1-6]))"
    r"(?:[ _-]ref)?(?:[ _]*[(\[ _][munµμ]?v[)\]]?)?"
)


def is_modified_lead(text: str) -> bool:
    """Whether this is the name of a limb lead with the electrodes on the torso, as in "MLII"."""
    return lead_name(text) is not None and "ml" in text.lower()


def check_leads(leads: tuple[str, ...]) -> None:
    """Refuse lead names that are unknown or given twice (ECGError)."""
    unknown = [name for name in leads if name not in LEADS]
    if unknown:
        raise ECGError(f"Unknown lead name {unknown[0]!r}; the twelve leads are {', '.join(LEADS)}.")
    twice = [name for name in leads if leads.count(name) > 1]
    if twice:
        raise ECGError(f"Lead {twice[0]} is given twice; keep one of the two.")


ELECTRODES = ("RA", "LA", "LL", *PRECORDIAL_LEADS)

DOWER = np.array(
    [
        # I: Dower has 0.632, -0.235; R and T of lead I in PTB-XL suggest a more horizontal lead
        [0.720, -0.100, -0.059],
        [0.235, 1.066, 0.132],  # II
        [-0.515, 0.157, 0.917],  # V1
        [0.044, 0.164, 1.387],  # V2
        [0.882, 0.098, 1.277],  # V3
        [1.213, 0.127, 0.601],  # V4
        [1.125, 0.127, 0.086],  # V5
        [0.831, 0.076, -0.230],  # V6
    ]
)
"""What the leads measure of a dipole (x left, y feet, z front), after Dower, Machado & Osborne, Clin Cardiol 3:87,
1980, as printed in Clifford et al., Advanced Methods and Tools for ECG Data Analysis (2006), where z points to the
back."""


def _leads_from_electrodes() -> np.ndarray:
    eye = dict(zip(ELECTRODES, np.eye(9), strict=True))
    ra, la, ll = eye["RA"], eye["LA"], eye["LL"]
    wilson = (ra + la + ll) / 3
    limb = [la - ra, ll - ra, ll - la, ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    return np.stack(limb + [eye[lead] - wilson for lead in PRECORDIAL_LEADS])


LEADS_FROM_ELECTRODES = _leads_from_electrodes()
"""How an electrocardiograph derives the twelve leads, in the order of `LEADS`: Einthoven, Goldberger, Wilson."""
