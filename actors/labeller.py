"""Gives new posts the safety labels that the models find, as events for the log."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.safety import MEDIA_LABEL, MODEL_PREFIX, SafetyModel
from actors.known_labels import CARE
from cluster.events import COLUMNS, CORE, Kind
from cluster.validation import check_batch

_SCHEMA = pa.schema([*CORE, pa.field("label", COLUMNS["label"])])
_NO_EVENTS = pa.RecordBatch.from_pylist([], schema=_SCHEMA)

Floats = npt.NDArray[np.float32]


class Labeller:
    """Turns rows of `post_create` and `post_edit` events into `safety_label` events.

    A label's name is the model's prefix and what people call it, `p_toxicity` for `toxicity`,
    its value the probability. It is given from the lowest threshold of the post's language on;
    who acts on it compares the value with the threshold of the precision that suits.

    What people said is never overwritten: a safety label is kept by post and name, and of one
    name the newest wins, so a model's labels have names of their own. What a person calls
    `toxicity` stays whatever a model finds later, a person who removes `toxicity` does not
    remove `p_toxicity` (nor may a model remove what a person gave), and training reads only
    labels without the prefix, so no model learns from itself or from the one before it.

    Media have a model of their own, which reads the embedding that an event brings along: its
    label is `p_nsfw_media`, given from the probability on that counts as worth caution.

    An edited post loses the labels that its new text, or its new media, do not earn. Every event
    has the time of the post's event, so that the newest labels win in whatever order they
    arrive, and an id made from kind, post, author, label and that time: the same rows twice give
    the same events, which appliers know as repeats.

    A pure function of rows and model: who tails the log, and from where, is the caller's.
    """

    def __init__(self, model: SafetyModel, append: Callable[[pa.RecordBatch], object]) -> None:
        self._model = model
        self._append = append

    def label(self, rows: pa.RecordBatch) -> int:
        """Append the events of some rows, if there are any; returns how many there were."""
        events = self.events(rows)
        if events.num_rows:
            self._append(events)
        return int(events.num_rows)

    def events(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Valid events: of texts in order of row and label, then of media in order of row.

        `rows` has columns post_id, author_id and time_ms, and text, media_embedding or both; with
        `kind` edits are known as such, and with `language` its thresholds are used. Rows without
        either, and of other kinds, say nothing.
        """
        batch = pa.concat_batches([self._of_texts(rows), self._of_media(rows)])
        if not batch.num_rows:
            return batch
        checked = check_batch(batch, now_ms=pc.max(batch.column("time_ms")).as_py())
        if checked.problems:
            raise ValueError(f"a row is no valid event of a post: {checked.problems[0].message}")
        return checked.batch

    def _of_texts(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        rows = _with(rows, "text")
        if not rows.num_rows:
            return _NO_EVENTS
        scores = self._model.scores(rows.column("text").to_pylist())
        languages = rows.column("language").to_pylist() if "language" in rows.schema.names else None
        earned = self._model.labels_of(scores, languages) > 0
        return _events(rows, self._model.labels, scores, earned)

    def _of_media(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        rows = _with(rows, "media_embedding")
        if self._model.media is None or not rows.num_rows:
            return _NO_EVENTS
        embeddings = rows.column("media_embedding").flatten().to_numpy(zero_copy_only=False)
        scores = self._model.media.scores(embeddings.reshape(rows.num_rows, -1))[:, None]
        return _events(rows, (MEDIA_LABEL,), scores, scores >= np.float32(CARE))


def _events(
    rows: pa.RecordBatch, labels: Sequence[str], scores: Floats, earned: npt.NDArray[np.bool_]
) -> pa.RecordBatch:
    """A label where it is earned, and its removal where an edit does not earn it: by (n, labels)
    scores, in order of row and label."""
    edited = _kinds(rows) == Kind.POST_EDIT
    at, label = np.nonzero(earned | edited[:, None])
    given = earned[at, label]
    none = np.zeros(len(at), np.int64)
    names = pa.array([MODEL_PREFIX + name for name in labels], pa.string())
    columns = {
        "event_id": none,
        "kind": np.where(given, Kind.SAFETY_LABEL, Kind.SAFETY_UNLABEL).astype(np.uint8),
        "time_ms": rows.column("time_ms").to_numpy()[at],
        "actor_id": none,
        "post_id": rows.column("post_id").to_numpy()[at],
        "author_id": rows.column("author_id").to_numpy()[at],
        "target_id": none,
        "value": np.where(given, scores[at, label], 0).astype(np.float32),
        "label": names.take(pa.array(label)),
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[name]) for name in _SCHEMA.names], schema=_SCHEMA
    )


def _with(rows: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """The rows that write a post and have a value in a column."""
    if name not in rows.schema.names:
        return rows.slice(0, 0)
    kinds = _kinds(rows)
    posts = (kinds == Kind.POST_CREATE) | (kinds == Kind.POST_EDIT)
    given = pc.is_valid(rows.column(name)).to_numpy(zero_copy_only=False)
    return rows.filter(pa.array(posts & given))


def _kinds(rows: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if "kind" not in rows.schema.names:
        return np.full(rows.num_rows, Kind.POST_CREATE, np.uint8)
    kinds: np.ndarray[tuple[int], np.dtype[np.uint8]] = rows.column("kind").to_numpy()
    return kinds
