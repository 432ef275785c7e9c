"""Embedding the ECGs of a store with a frozen model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from lamae_toolkit.data.store import Store, unpacked
from lamae_toolkit.ecg.leads import LEADS
from lamae_toolkit.errors import ECGError
from lamae_toolkit.evaluation.linear_probe import features
from lamae_toolkit.model.config import LAMAEConfig
from lamae_toolkit.model.lamae import LAMAE
from lamae_toolkit.model.outputs import Embedding
from lamae_toolkit.model.precision import autocast, check_precision
from lamae_toolkit.model.pretrained import check_rate


def random_encoder(config: LAMAEConfig, seed: int = 0) -> LAMAE:
    """An untrained model of the same shape: the baseline that shows what the architecture alone is worth.

    config: the sizes of the model. seed: of its random weights; the global random state is unchanged. Raises
    ECGError through LAMAEConfig if the sizes do not fit together.

    Example:
        import lamae_toolkit as lt

        model = lt.random_encoder(lt.LAMAEConfig(), seed=0)
        print(sum(parameter.numel() for parameter in model.parameters()))
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LAMAE(config).eval()


def embed_rows(
    model: LAMAE,
    store: Store,
    rows: np.ndarray,
    *,
    batch_size: int | None = None,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    progress: bool = True,
    leads: Sequence[str] = LEADS,
) -> Embedding:
    """Embed ECGs of a store with a frozen model, all at full length and with nothing masked.

    rows: their row numbers in the store. batch_size: ECGs at a time; 16 on the CPU and 256 on a GPU if None.
    precision: "bfloat16" computes matrix products in 16 bits, which is faster on hardware that is made for it.
    device: where to compute; the embedding is on the CPU. leads: the leads that the model gets. Raises ECGError if the
    store has another sampling rate (Hz) than the model, or if there is no row.

    Example:
        import tempfile
        import numpy as np
        import lamae_toolkit as lt

        with tempfile.TemporaryDirectory() as folder:
            store = lt.simulate_store(folder + "/store", 8, 0, progress=False)
            model = lt.LAMAE.from_pretrained("lamae-mini-ptbxl")
            embedding = lt.embed_rows(model, store, np.arange(8), progress=False)
            print(embedding.heart.shape)
    """
    batches = _embeddings(model, store, rows, leads, batch_size, precision, device, progress)
    parts = [Embedding(*(part.cpu() for part in some)) for some in batches]
    return Embedding(*(torch.cat(part) for part in zip(*parts, strict=True)))


def embed_features(
    model: LAMAE, store: Store, rows: np.ndarray, representations: Sequence[str] = ("heart",), **options: Any
) -> dict[str, Float[np.ndarray, "b d"]]:
    """The features of these ECGs in each representation, for a probe: 4 bytes per number and ECG.

    The same as `features(embed_rows(model, store, rows), representation)`, but without the latents of all leads in
    memory, 45 kB per ECG of a model 384 wide. options: as in `embed_rows`.
    """
    x: dict[str, np.ndarray] = {}
    start = 0
    for embedding in _embeddings(model, store, rows, **options):
        for representation in representations:
            some = features(embedding, representation)
            if start == 0:
                x[representation] = np.empty((len(rows), some.shape[1]), dtype=np.float32)
            x[representation][start : start + len(some)] = some
        start += len(embedding.heart)
    return x


def _embeddings(
    model: LAMAE,
    store: Store,
    rows: np.ndarray,
    leads: Sequence[str] = LEADS,
    batch_size: int | None = None,
    precision: str = "float32",
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Iterator[Embedding]:
    """The embeddings of these ECGs, batch by batch, on the device."""
    check_rate(model, store.sampling_rate_hz)
    check_precision(precision)
    if len(rows) == 0:
        raise ECGError("There is no ECG to embed; choose folds that have ECGs.")
    device, rows = torch.device(device), np.asarray(rows, dtype=np.int64)
    batch_size = batch_size or (16 if device.type == "cpu" else 256)
    model.to(device).eval()
    packed = store.packed(rows[:batch_size])
    with tqdm(total=len(rows), desc="embedding", unit="ECG", disable=not progress) as bar:
        for start in range(0, len(rows), batch_size):
            known = store.known_of(rows[start : start + batch_size], device)
            batch = unpacked(torch.from_numpy(packed).to(device), known).select(leads)
            with torch.inference_mode(), autocast(device, precision):
                embedding = model.embed(batch)
            following = rows[start + batch_size : start + 2 * batch_size]
            if len(following):  # read from disk while the GPU still computes the batch
                packed = store.packed(following)
            yield embedding
            bar.update(len(batch))
