"""Small models, ECGs and results that several tests share."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from lamae_toolkit.data.batch import Batch
from lamae_toolkit.data.store import Store
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.evaluation.embed import random_encoder
from lamae_toolkit.evaluation.evaluate import Evaluation, Split, codes_to_predict, score_probe
from lamae_toolkit.evaluation.linear_probe import Probe
from lamae_toolkit.explain.attention import attention_by_layer, in_float32, latent_attention, recorded_embedding
from lamae_toolkit.icd10 import label_matrix
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.masking import random_mask
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.training.trainer import TrainConfig, pretrain, read_log

SMALL = LAMAEConfig(
    width=32,
    heads=4,
    pooling_heads=4,
    decoder_width=16,
    decoder_heads=4,
    encoder_depth=2,
    latent_depth=2,
    decoder_depth=1,
)
ONE_BLOCK = replace(SMALL, encoder_depth=1, latent_depth=1)
TO_TRAIN = replace(ONE_BLOCK, masked_leads=1)
VARIANTS = {
    "all, time steps": SMALL,
    "all, token": replace(SMALL, heart="token"),
    "cls": replace(SMALL, tokens="cls"),
    "names": replace(SMALL, lead_embedding=True),
    "complete leads": replace(SMALL, masked_leads=3),
    "record": replace(SMALL, normalization="record"),
    "induced": replace(SMALL, tokens="induced", induced_latents=4),
    "mean pooling": replace(SMALL, pooling="mean"),
    "no latent attention": replace(SMALL, latent_depth=0),
    "complete leads only": replace(SMALL, mask_ratio=0.0, masked_leads=6),
    "amplitude input": replace(SMALL, amplitude_input=True),
    "visible amplitude": replace(SMALL, amplitude_input=True, normalization="visible"),
    "linear path": replace(SMALL, amplitude_input=True, normalization="visible", linear_path=True),
    "named pooling": replace(SMALL, amplitude_input=True, pooling="named", pooling_heads=5),
}
TEN = TrainConfig(steps=10, batch_size=8, warmup_steps=3, log_every=1, save_every=4)


def some_ecgs(records: int = 3, samples: int = 1000, seed: int = 0) -> Batch:
    """Smooth signals with a shared rhythm, different in every lead and record."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(samples) / 100
    rate_hz = 0.8 + torch.rand(records, 1, 1, generator=generator)
    phase = 6.28 * torch.rand(records, len(LEADS), 1, generator=generator)
    amplitude = 0.2 + torch.rand(records, len(LEADS), 1, generator=generator)
    signal_mv = amplitude * torch.sin(6.28 * rate_hz * time_s + phase) ** 5
    return Batch(signal_mv.float(), torch.ones(records, len(LEADS), dtype=torch.bool))


def mask_for(batch: Batch, seed: int = 1) -> torch.Tensor:
    return random_mask((len(batch), len(batch.leads), 40), 0.75, torch.Generator().manual_seed(seed))


def permuted(batch: Batch, order: list[int]) -> Batch:
    return Batch(batch.signal_mv[:, order], batch.lead_mask[:, order], tuple(batch.leads[i] for i in order))


def run(store, folder, config=TEN, **options) -> LAMAE:
    return pretrain(random_encoder(TO_TRAIN), store, np.arange(40), folder, config, progress=False, **options)


def same_bits(one: LAMAE, other: LAMAE) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def without_speed(folder) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "ecgs_per_s"} for row in read_log(folder)]


def learnable(ecgs: int = 900, width: int = 8, seed: int = 0):
    """Embeddings of which code A is a linear function plus noise, and code B is pure chance."""
    rng = np.random.default_rng(seed)
    heart = rng.normal(size=(ecgs, width)).astype(np.float32)
    has_a, has_b = heart[:, 0] + rng.normal(0, 0.5, ecgs) > 0.8, rng.random(ecgs) < 0.3
    codes = [[code for code, has in (("I48.91", a), ("I44.7", b)) if has] for a, b in zip(has_a, has_b, strict=True)]
    index = pd.DataFrame({"patient_id": np.arange(ecgs), "fold": np.arange(ecgs) % 20, "codes": codes})
    leads, weights = torch.zeros(ecgs, 12, width), torch.zeros(ecgs, 1, 12)
    embedding = Embedding(torch.from_numpy(heart), leads, weights, leads, torch.zeros(ecgs, 5 * width), leads[..., :0])
    return embedding, index


def probe_of(width: int = 32, representation: str = "heart") -> Probe:
    weight = np.random.default_rng(0).normal(size=(2, width)) / 4
    return Probe(("I44.7", "I21.09"), representation, np.zeros(width), np.ones(width), weight, np.zeros(2), 1.0)


def two_models(cohort: Store) -> list[Evaluation]:
    """Two "models" whose latents are the true codes in noise, of the second in more of it."""
    codes, test = codes_to_predict(cohort, Split(), minimum=3), Split().indices(cohort.index)[2]
    index, c = cohort.index.iloc[test], len(codes)
    truth, none, one = label_matrix(index.codes.tolist(), codes), np.zeros(c), np.ones(c)
    probe = Probe(codes, "heart", none, one, 4 * np.eye(c), -2 * one, 1.0)
    made = []
    for number, noise in ((1, 0.4), (2, 1.0)):
        x = truth + np.random.default_rng(number).normal(0, noise, truth.shape)
        made.append(score_probe(probe, x, index, name=f"model {number}", n_bootstrap=50))
    return made


@torch.inference_mode()
def attention_summaries(model: LAMAE, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Lead weights (b, h, l) and attention between leads (b, layers, h, l, l) of complete runs; 0 for absent leads."""
    with in_float32(model):
        weights, record = recorded_embedding(model, batch)
    between = attention_by_layer(model, weights, latent_attention(record))
    return weights, between * batch.lead_mask[:, None, None, :, None]
