"""Gives new posts the safety labels that the text model finds, as events for the log."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.safety import MODEL_PREFIX, SafetyModel
from cluster.events import COLUMNS, CORE, Kind
from cluster.validation import check_batch

_SCHEMA = pa.schema([*CORE, pa.field("label", COLUMNS["label"])])


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

    An edited post loses the labels that its new text does not earn. Every event has the time
    of the post's event, so that the newest text's labels win in whatever order they arrive,
    and an id made from kind, post, author, label and that time: the same rows twice give the
    same events, which appliers know as repeats.

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
        """Valid events, in order of row and label.

        `rows` has columns post_id, author_id, text and time_ms; with `kind` edits are known as
        such, and with `language` its thresholds are used. Rows without a text, and of other
        kinds, say nothing.
        """
        rows = self._with_text(rows)
        scores = self._model.scores(rows.column("text").to_pylist())
        languages = rows.column("language").to_pylist() if "language" in rows.schema.names else None
        earned = self._model.labels_of(scores, languages) > 0
        edited = _kinds(rows) == Kind.POST_EDIT
        at, label = np.nonzero(earned | edited[:, None])
        given = earned[at, label]
        n = len(at)
        names = pa.array([MODEL_PREFIX + name for name in self._model.labels], pa.string())
        none = np.zeros(n, np.int64)
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
        batch = pa.RecordBatch.from_arrays(
            [pa.array(columns[name]) for name in _SCHEMA.names], schema=_SCHEMA
        )
        if not n:
            return batch
        checked = check_batch(batch, now_ms=int(columns["time_ms"].max()))
        if checked.problems:
            raise ValueError(f"a row is no valid event of a post: {checked.problems[0].message}")
        return checked.batch

    @staticmethod
    def _with_text(rows: pa.RecordBatch) -> pa.RecordBatch:
        kinds = _kinds(rows)
        posts = (kinds == Kind.POST_CREATE) | (kinds == Kind.POST_EDIT)
        given = pc.is_valid(rows.column("text")).to_numpy(zero_copy_only=False)
        return rows.filter(pa.array(posts & given))


def _kinds(rows: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if "kind" not in rows.schema.names:
        return np.full(rows.num_rows, Kind.POST_CREATE, np.uint8)
    kinds: np.ndarray[tuple[int], np.dtype[np.uint8]] = rows.column("kind").to_numpy()
    return kinds
