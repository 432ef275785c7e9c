"""A cohort in tables, without a model: patients, codes, signal quality, and how much leads explain of each other.

Every function takes any store, or its index.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from lamae_toolkit.data.format import ABSENT
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS, LIMB_LEADS, PRECORDIAL_LEADS
from lamae_toolkit.ecg.quality import FLAG_COLUMNS, LEAD_FLAGS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.icd10 import name_of

AT_ONCE = 256
LEAD_SETS = {"all other leads": LEADS, "limb leads": LIMB_LEADS, "chest leads": PRECORDIAL_LEADS}
"""The leads from which each lead is reconstructed; a lead is never reconstructed from itself."""


def some_rows(index: pd.DataFrame, most: int, seed: int = 0) -> np.ndarray:
    """The rows of randomly sampled patients, each with all their ECGs, until there are `most` ECGs."""
    _refuse_empty(index)
    patients, patient = np.unique(index.patient_id, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(patients))
    fits = np.cumsum(np.bincount(patient)[order]) <= most
    return np.flatnonzero(np.isin(patient, order[: max(1, int(fits.sum()))]))


# Patients.


def cohort_table(index: pd.DataFrame) -> pd.DataFrame:
    """The cohort in one table: ECGs, patients, age, sex, codes and folds; sex is counted by patient, age by ECG."""
    _refuse_empty(index)
    per_patient, codes = index.groupby("patient_id").size(), index.codes.map(lambda codes: len(set(codes)))
    sex, age = index.groupby("patient_id").sex.first(), index.age_years.astype(float)
    values = {
        "ECGs": len(index),
        "patients": len(per_patient),
        "patients with several ECGs": int((per_patient > 1).sum()),
        "ECGs per patient, mean": float(per_patient.mean()),
        "ECGs per patient, most": int(per_patient.max()),
        "women": int((sex == "F").sum()),
        "men": int((sex == "M").sum()),
        "patients of unknown sex": int((~sex.isin(["F", "M"])).sum()),
        "age in years, lower quartile": float(age.quantile(0.25)),
        "age in years, median": float(age.median()),
        "age in years, upper quartile": float(age.quantile(0.75)),
        "ECGs of unknown age": int(age.isna().sum()),
        "different codes": len(set(index.codes.explode().dropna())),
        "ECGs without a code": int((codes == 0).sum()),
        "codes per ECG, mean": float(codes.mean()),
        "codes per ECG, most": int(codes.max()),
        "folds": int(index.fold.nunique()),
        "patients in more than one fold": int((index.groupby("patient_id").fold.nunique() > 1).sum()),
    }
    return pd.DataFrame({"value": pd.Series(values, dtype=object)})


def age_table(index: pd.DataFrame, width_years: int = 5) -> pd.DataFrame:
    """ECGs by age and sex: a row for each `width_years` of age, named by its first year; unknown ages are left out."""
    known = index[index.age_years.notna()]
    first = (known.age_years // width_years * width_years).astype(int).rename("age_years")
    sex = known.sex.map({"F": "women", "M": "men"}).fillna("unknown").rename("sex")
    return pd.crosstab(first, sex).reindex(columns=["women", "men", "unknown"], fill_value=0)


def code_table(index: pd.DataFrame, column: str = "codes") -> pd.DataFrame:
    """How many ECGs and patients have each code, the most frequent first. column: any of the index that holds lists."""
    pairs = _pairs(index, column)
    table = pairs.groupby("code").agg(ECGs=("row", "size"), patients=("patient", "nunique"))
    table.insert(0, "name", [name_of(code).removeprefix(f"{code} ") for code in table.index])
    table["share of ECGs"] = table.ECGs / len(index)
    return table.sort_values(["ECGs", "name"], ascending=[False, True])


class CoOccurrence(NamedTuple):
    """Which codes are on the same ECG; all tables have a row and a column for each code.

    count: ECGs with both. expected: ECGs that would have both if codes were independent. ratio:
    count / expected, NaN on the diagonal and where fewer than `least_expected` are expected, since such
    ratios are mostly noise. share: P(column | row), of the ECGs with the row's code the share that has the column's.
    """

    count: pd.DataFrame
    expected: pd.DataFrame
    ratio: pd.DataFrame
    share: pd.DataFrame


def co_occurrence(
    index: pd.DataFrame, column: str = "codes", most: int = 20, least_expected: float | int = 5
) -> CoOccurrence:
    """Which codes occur on the same ECG, for the `most` frequent ones. ECGError if no ECG has a code."""
    codes = code_table(index, column).index[:most]
    if codes.empty:
        raise ECGError(f"No ECG of this cohort has anything in {column}, so nothing can occur together.")
    pairs = _pairs(index, column)
    has = pd.crosstab(pairs.row, pairs.code).reindex(columns=codes).to_numpy(dtype=float)
    count = has.T @ has
    total = np.diag(count)
    expected = np.outer(total, total) / len(index)
    ratio = np.where((expected < least_expected) | np.eye(len(codes), dtype=bool), np.nan, count / expected)
    tables = (count.astype(int), expected, ratio, count / total[:, None])
    return CoOccurrence(*(pd.DataFrame(table, index=codes, columns=list(codes)) for table in tables))


def _pairs(index: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row for each ECG and each code that it has, counted once."""
    _refuse_empty(index)
    if column not in index:
        raise ECGError(f"The index has no column {column}; choose from {', '.join(index.columns)}.")
    pairs = pd.DataFrame(
        {"row": np.arange(len(index)), "patient": index.patient_id.to_numpy(), "code": index[column].to_numpy()}
    )
    return pairs.explode("code").dropna(subset=["code"]).drop_duplicates(["row", "code"])


def _refuse_empty(index: pd.DataFrame) -> None:
    if len(index) == 0:
        raise ECGError("This cohort has no ECGs; choose a store or folds with ECGs.")


# Signal quality.


def quality_table(store: Store, rows: np.ndarray | None = None) -> pd.DataFrame:
    """For each lead, the share of ECGs in which it is absent, or flagged as nan, flat, clipped or noisy.

    rows: the ECGs to include; None for all.
    """
    index = _flagged(store.index)
    rows = np.arange(len(index)) if rows is None else rows
    _refuse_empty(index.iloc[rows])
    shares = {"absent": (store.signals[rows, :, 0] == ABSENT).mean(axis=0)}
    for flag in LEAD_FLAGS:
        leads = index[f"flag_{flag}"].iloc[rows].str.split(",").explode().value_counts()
        shares[flag] = leads.reindex(LEADS, fill_value=0).to_numpy() / len(rows)
    return pd.DataFrame(shares, index=pd.Index(LEADS, name="lead"))


def reversal_table(index: pd.DataFrame) -> pd.DataFrame:
    """Number of ECGs with a suspected lead reversal, by electrodes."""
    counts = _flagged(index).flag_swap[index.flag_swap != ""].value_counts()
    return pd.DataFrame({"ECGs": counts, "share of ECGs": counts / max(len(index), 1)}).rename_axis("suspected swap")


def flagged_rows(index: pd.DataFrame, flag: str, which: str | None = None) -> np.ndarray:
    """The rows of the ECGs with a flag ("nan", "flat", "clipped", "noisy" or "swap"), in this lead or of this kind."""
    if f"flag_{flag}" not in FLAG_COLUMNS:
        raise ECGError(f"There is no flag {flag!r}; choose from {', '.join((*LEAD_FLAGS, 'swap'))}.")
    flags = _flagged(index)[f"flag_{flag}"]
    return np.flatnonzero(flags != "" if which is None else [which in text.split(",") for text in flags])


def _flagged(index: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in FLAG_COLUMNS if name not in index]
    if missing:
        raise ECGError(
            f"The index has no column {missing[0]}, so this store was made by a version without quality flags;"
            " delete its folder and prepare it again."
        )
    return index


# Redundancy of leads.


def lead_covariances(store: Store, rows: np.ndarray) -> Float[np.ndarray, "b l l"]:
    """The covariances of the leads of each ECG over time in mV², NaN where a lead is absent."""
    covariances = np.full((len(rows), len(LEADS), len(LEADS)), np.nan)
    for start, signal_mv, lead_mask in in_parts(store, rows):
        centered = (signal_mv - signal_mv.mean(axis=2, keepdims=True)).astype(np.float64)
        covariance = centered @ centered.transpose(0, 2, 1) / centered.shape[2]
        both = lead_mask[:, :, None] & lead_mask[:, None, :]
        covariances[start : start + len(lead_mask)] = np.where(both, covariance, np.nan)
    return covariances


def pooled(covariances: Float[np.ndarray, "b l l"]) -> Float[np.ndarray, "l l"]:
    """The mean covariances over the ECGs that have both leads; NaN if there are none."""
    valid = np.isfinite(covariances)
    with np.errstate(invalid="ignore"):
        return np.where(valid, covariances, 0.0).sum(axis=0) / valid.sum(axis=0)


def explained_share(
    learn: Float[np.ndarray, "b l l"], unseen: Float[np.ndarray, "u l l"], lead: str, others: Sequence[str]
) -> Float[np.ndarray, " u"]:
    """R² of a lead reconstructed as a weighted sum of other leads, for each unseen ECG: 1 perfect, 0 its mean.

    learn, unseen: `lead_covariances` of different patients; the weights solve the normal equations of the first, for
    the leads that each unseen ECG has, and R² = 1 - (s_tt - 2 w s_ot + w S_oo w) / s_tt. Below 0 the reconstruction is
    worse than the mean. NaN where the lead is absent or flat, or none of the others is available.
    """
    together, target = pooled(learn), LEADS.index(lead)
    valid = np.isfinite(np.diag(together))
    columns = np.array([LEADS.index(name) for name in others if name != lead and valid[LEADS.index(name)]], dtype=int)
    lead_mask = np.isfinite(np.diagonal(unseen, axis1=1, axis2=2))
    share = np.full(len(unseen), np.nan)
    for pattern in np.unique(lead_mask[:, columns], axis=0):
        chosen = columns[pattern]
        rows = np.flatnonzero((lead_mask[:, columns] == pattern).all(axis=1) & lead_mask[:, target])
        if len(chosen) == 0 or not valid[target]:
            continue
        block = np.nan_to_num(together[np.ix_(chosen, chosen)])  # a pair that is never recorded together has no weight
        weight = np.linalg.pinv(block, rcond=1e-9, hermitian=True) @ np.nan_to_num(together[chosen, target])
        own, with_target = unseen[rows, target, target], unseen[rows][:, chosen, target]
        error = own - 2 * with_target @ weight + weight @ unseen[rows][:, chosen][:, :, chosen] @ weight
        with np.errstate(invalid="ignore", divide="ignore"):
            share[rows] = np.where(own > 0, 1 - error / own, np.nan)
    return share


def redundancy_table(learn: Float[np.ndarray, "b l l"], unseen: Float[np.ndarray, "u l l"]) -> pd.DataFrame:
    """How much of each lead each of LEAD_SETS explains in unseen patients: median R² and quartiles over ECGs."""
    rows = []
    for lead in LEADS:
        for name, others in LEAD_SETS.items():
            share = explained_share(learn, unseen, lead, others)
            share = share[np.isfinite(share)]
            low, middle, high = np.percentile(share, [25, 50, 75]) if len(share) else (np.nan,) * 3
            rows.append({"lead": lead, "from": name, "median": middle, "low": low, "high": high, "ECGs": len(share)})
    return pd.DataFrame(rows)


def lead_matrix(learn: Float[np.ndarray, "b l l"], unseen: Float[np.ndarray, "u l l"]) -> pd.DataFrame:
    """Median R² of each lead (row) from each single other lead (column) in unseen patients; the diagonal is NaN."""
    table = pd.DataFrame(np.nan, index=pd.Index(LEADS, name="lead"), columns=list(LEADS))
    for lead in LEADS:
        for other in LEADS:
            share = explained_share(learn, unseen, lead, [other])
            if np.isfinite(share).any():
                table.loc[lead, other] = np.nanmedian(share)
    return table


def in_parts(store: Store, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The signals in mV and their lead masks, some ECGs at a time, each part with the position of its first ECG."""
    if len(rows) == 0:
        raise ECGError("No ECG is chosen; choose rows of the store.")
    for start in range(0, len(rows), AT_ONCE):
        batch = store.batch(rows[start : start + AT_ONCE])
        yield start, batch.signal_mv.numpy(), batch.lead_mask.numpy()
