"""The same model in plain PyTorch, one process, tables in memory: what the sharded loop must equal.

Nothing of torchrec or fbgemm is used here; batches, formulas and beginnings are the same.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from cluster.training_settings import TwhinSettings
from training.twhin.batches import Batch, Place, stream
from training.twhin.edges import Edges
from training.twhin.evaluate import Floats, Vectors
from training.twhin.model import initial_scale, initial_translations, loss

ADAGRAD_EPS = 1e-8
TRANSLATION_EPS = 1e-10


class PlainTwhin:
    """Tables, translations and their optimisers."""

    def __init__(self, rows: dict[str, int], settings: TwhinSettings, seed: int) -> None:
        torch.manual_seed(seed)
        scale = initial_scale(settings.dimensions)
        self.tables = {
            table: torch.empty(n, settings.dimensions).uniform_(-scale, scale).requires_grad_()
            for table, n in rows.items()
        }
        self.translations = initial_translations(settings.dimensions, seed).requires_grad_()
        self._rate, self._adagrad = settings.learning_rate, settings.optimiser == "adagrad"
        # Row-wise Adagrad: one sum per row, of the mean square of its gradients.
        self._sums = {table: torch.zeros(n) for table, n in rows.items()}
        self._translation_sums = torch.zeros_like(self.translations)

    def step(self, *batches: Batch) -> float:
        """Learn from a batch, or from those of several workers at once; gives the mean loss."""
        losses = [loss(self._looked_up(batch), self.translations, batch) for batch in batches]
        found = torch.stack(losses).mean()
        found.backward()
        with torch.no_grad():
            for table, weights in self.tables.items():
                self._step_table(table, weights)
            self._step_translations()
        return float(found.detach())

    def vectors(self) -> tuple[Vectors, Floats]:
        """Tables by name, and translations."""
        tables = {table: weights.detach().numpy() for table, weights in self.tables.items()}
        return tables, self.translations.detach().numpy()

    def _looked_up(self, batch: Batch) -> dict[str, Tensor]:
        return {
            table: embedding(torch.from_numpy(rows), self.tables[table], sparse=True)
            for table, rows in batch.rows.items()
        }

    def _step_table(self, table: str, weights: Tensor) -> None:
        if weights.grad is None:
            return
        gradient = weights.grad.coalesce()
        at, values = gradient.indices()[0], gradient.values()
        if self._adagrad:
            sums = self._sums[table].index_add_(0, at, values.square().mean(1))
            values = values / (sums[at].sqrt() + ADAGRAD_EPS)[:, None]
        weights.index_add_(0, at, values, alpha=-self._rate)
        weights.grad = None

    def _step_translations(self) -> None:
        gradient = self.translations.grad
        if gradient is None:
            return
        if self._adagrad:
            self._translation_sums += gradient.square()
            gradient = gradient / (self._translation_sums.sqrt() + TRANSLATION_EPS)
        self.translations -= self._rate * gradient
        self.translations.grad = None


def train_plain(edges: Edges, settings: TwhinSettings, seed: int) -> tuple[Vectors, Floats]:
    """Train from the start to the end of the last epoch, as one worker would."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = PlainTwhin({t: n for t, n in edges.rows.items() if n}, settings, seed)
        for _, batch in stream(edges, settings, seed, 0, 1, Place()):
            model.step(batch)
    finally:
        torch.set_num_threads(threads)
    return model.vectors()
