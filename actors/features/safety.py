"""Trust and safety: how likely a text breaks which rule (pToxicity, pAbuse, pNSFWText …)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.safety_ngrams import Ngrams, ngrams, pooled
from cluster.artifacts import Artifact, ArtifactStore
from cluster.events import MEDIA_DIMENSIONS

TRUST_AND_SAFETY = "trust_and_safety"
TRUST_AND_SAFETY_SCHEMA = 1
MODEL_PREFIX = "p_"
"""Before the name of a label that a model gave (the original's pToxicity, pAbuse …), so that it
is another label than the one people give, who thus always have their own word."""
MEDIA_LABEL = "nsfw_media"
"""What people call posts with adult pictures, and, with the prefix, what the media head gives."""
ANY_LANGUAGE = ""
"""The key of the thresholds for texts whose language has none of its own."""

_LOG = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NgramModel:
    """A linear model over hashed n-grams, or one with a layer of embeddings between.

    Both begin with the weighted sum of a row for each n-gram: of k = labels weights, or of
    the k numbers of an embedding, which a ReLU and a dense layer turn into logits.
    """

    rarities: Floats
    """Shape (buckets,): inverse document frequencies; 0 where the training saw too little."""
    rows: Floats
    """Shape (buckets, k)."""
    bias: Floats
    """Shape (k,)."""
    head: Floats | None = None
    """Shape (k, labels)."""
    head_bias: Floats | None = None
    """Shape (labels,)."""

    def logits(self, texts: Ngrams) -> Floats:
        """Shape (n, labels), not calibrated."""
        sums: Floats = pooled(texts, self.rarities, self.rows) + self.bias
        if self.head is None or self.head_bias is None:
            return sums
        logits: Floats = np.maximum(sums, 0) @ self.head + self.head_bias
        return logits

    @property
    def n_buckets(self) -> int:
        """How many buckets n-grams are hashed into."""
        return len(self.rarities)

    def tensors(self) -> dict[str, Floats]:
        """By the names in which an artifact holds them."""
        named = vars(self).items()
        return {name: tensor for name, tensor in named if tensor is not None}


@dataclass(frozen=True)
class MediaHead:
    """pNSFWMedia: standardised image embedding → tanh layer → calibrated probability.

    Reads embeddings that something else made of the images (the original: 256 numbers of
    its own CLIP); it knows no images itself.
    """

    mean: Floats
    """Shape (d,), with `scale` the normalisation of the input."""
    scale: Floats
    hidden: Floats
    """Shape (d, h)."""
    hidden_bias: Floats
    output: Floats
    """Shape (h,)."""
    output_bias: Floats
    """Shape (1,)."""

    def scores(self, embeddings: Floats) -> Floats:
        """Probabilities, (n,), that images are adult content, from embeddings (n, d).

        Raises as `logits` does.
        """
        return probabilities_of(self.logits(embeddings))

    def logits(self, embeddings: Floats) -> Floats:
        """Their log-odds, (n,).

        Raises `ValueError` for another width and for numbers that are not finite.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise ValueError(
                f"embeddings must have shape (n, {len(self.mean)}), got {embeddings.shape}"
            )
        if not np.isfinite(embeddings).all():
            raise ValueError("embeddings must be finite")
        inner = np.tanh(((embeddings - self.mean) * self.scale) @ self.hidden + self.hidden_bias)
        logits: Floats = inner @ self.output + self.output_bias[0]
        return logits


@dataclass(frozen=True)
class SafetyModel:
    """Calibrated probabilities of each label, and from which on a label is given."""

    labels: tuple[str, ...]
    """As people name them in their safety labels."""
    model: NgramModel
    slopes: Floats
    """Shape (labels,): with `offsets` the calibration (Platt's) of the logits."""
    offsets: Floats
    precisions: tuple[float, ...]
    """Ascending: what share of the texts at or above a threshold earned the label."""
    thresholds: Mapping[str, Floats]
    """Language → shape (precisions, labels); infinity where no threshold is that precise.
    `ANY_LANGUAGE` is always there."""
    version: str = ""
    media: MediaHead | None = field(default=None)

    def __post_init__(self) -> None:
        shape = (len(self.precisions), len(self.labels))
        if ANY_LANGUAGE not in self.thresholds:
            raise ValueError("thresholds for any language are missing")
        for language, found in self.thresholds.items():
            if found.shape != shape:
                raise ValueError(
                    f"thresholds of language {language!r} must have shape {shape}, "
                    f"got {found.shape}"
                )

    def scores(self, texts: Sequence[str]) -> Floats:
        """The probability of each label for each text, (n, labels) float32.

        A text without anything that the training knew (an empty one, another script) gets 0.
        """
        found = ngrams(texts, self.model.n_buckets)
        probabilities = probabilities_of(self.model.logits(found) * self.slopes + self.offsets)
        known = np.zeros(len(texts), bool)
        text_of = np.repeat(np.arange(len(texts)), np.diff(found.offsets[::2]))
        known[text_of[self.model.rarities[found.buckets] > 0]] = True
        probabilities[~known] = 0.0
        return probabilities

    def labels_of(
        self, scores: Floats, languages: Sequence[str | None] | None = None
    ) -> npt.NDArray[np.int8]:
        """How many of the `precisions` each score reaches, (n, labels): 0 means no label.

        With two precisions, 1 is for treating a text with care and 2 for acting on it. A
        language counts by its primary tag: `en-GB` as `en`.
        """
        levels = self._levels(scores, self.thresholds[ANY_LANGUAGE])
        if languages is not None:
            primary = np.array([(tag or "").split("-")[0].lower() for tag in languages], str)
            for language, thresholds in self.thresholds.items():
                rows = np.flatnonzero(primary == language)
                if language != ANY_LANGUAGE and len(rows):
                    levels[rows] = self._levels(scores[rows], thresholds)
        return levels

    @staticmethod
    def _levels(scores: Floats, thresholds: Floats) -> npt.NDArray[np.int8]:
        reached = scores[:, None, :] >= thresholds[None, :, :]
        levels: npt.NDArray[np.int8] = reached.sum(axis=1).astype(np.int8)
        return levels


def read_safety_model(artifacts: ArtifactStore, version: str) -> SafetyModel:
    """Read and check one version from the artifact store.

    Raises what `ArtifactStore.open` raises, and `ValueError` where the files do not fit one
    another.
    """
    artifact = artifacts.open(TRUST_AND_SAFETY, version, schema_version=TRUST_AND_SAFETY_SCHEMA)
    tensors = artifact.tensors("model.safetensors")
    told: dict[str, Any] = artifact.json("labels.json")
    calibration = {name: tensors.pop(name) for name in ("slopes", "offsets")}
    thresholds = {
        language: np.array(rows, np.float64).astype(np.float32)
        for language, rows in told["thresholds"].items()
    }
    # A threshold that does not exist is null in JSON and NaN here.
    thresholds = {
        language: np.where(np.isnan(rows), np.inf, rows).astype(np.float32)
        for language, rows in thresholds.items()
    }
    labels = tuple(map(str, told["labels"]))
    model = NgramModel(**tensors)
    width = model.rows.shape[1] if model.head is None else model.head.shape[1]
    if width != len(labels) or len(calibration["slopes"]) != len(labels):
        raise ValueError(f"{TRUST_AND_SAFETY} {version} has {width} outputs for {labels}")
    return SafetyModel(
        labels,
        model,
        **calibration,
        precisions=tuple(map(float, told["precisions"])),
        thresholds=thresholds,
        version=version,
        media=_read_media(artifact),
    )


def _read_media(artifact: Artifact) -> MediaHead | None:
    if "media.safetensors" not in artifact.manifest.files:
        return None
    head = MediaHead(**artifact.tensors("media.safetensors"))
    if len(head.mean) != MEDIA_DIMENSIONS:
        _LOG.warning(
            "the media head of %s %s reads %d numbers, events carry %d: it is not used",
            *(TRUST_AND_SAFETY, artifact.manifest.version, len(head.mean), MEDIA_DIMENSIONS),
        )
        return None
    return head


def probabilities_of(logits: npt.NDArray[Any]) -> Floats:
    """The logistic function; the same rounding for training and serving."""
    inside = np.clip(logits.astype(np.float64), -30, 30)
    probabilities: Floats = (1 / (1 + np.exp(-inside))).astype(np.float32)
    return probabilities
