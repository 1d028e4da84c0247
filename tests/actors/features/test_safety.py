from pathlib import Path

import numpy as np
import pytest

from actors.features.safety import MediaHead, NgramModel, SafetyModel, read_safety_model
from cluster.artifacts import ArtifactStore
from cluster.events import MEDIA_DIMENSIONS
from tests.actors.features.safety_models import BUCKETS, small_head, small_model


def test_scores_are_probabilities_of_each_label() -> None:
    scores = small_model().scores(["oaf", "friend", "wink", "", "zzz"])
    assert scores.shape == (5, 2)
    assert scores.dtype == np.float32
    assert scores[0, 0] > 0.9 > 0.2 > scores[0, 1]
    assert scores[1, 0] < 0.12
    assert scores[2, 1] > 0.9
    # Nothing known about it is no reason to suspect it.
    assert not scores[3:].any()
    assert small_model().scores([]).shape == (0, 2)


@pytest.mark.parametrize(
    "disguised", ["O A F", "o.a.f", "0af", "o@f", "оаf", "o\u200baf", "ｏａｆ"]
)
def test_a_disguise_changes_no_score(disguised: str) -> None:
    model = small_model()
    np.testing.assert_array_equal(model.scores([disguised]), model.scores(["oaf"]))


def test_a_drawn_out_word_is_still_known() -> None:
    assert small_model().scores(["ooooaaaaf"])[0, 0] > 0.5


def test_a_score_does_not_depend_on_its_neighbours() -> None:
    model = small_model()
    texts = ["oaf wink", "a friend", "", "oaf", "wink\nwink"] * 700
    alone = np.concatenate([model.scores([text]) for text in texts[:5]])
    np.testing.assert_array_equal(model.scores(texts), np.tile(alone, (700, 1)))


def test_labels_are_given_by_threshold_and_language() -> None:
    model = small_model()
    scores = np.array([[0.5, 0.49], [0.95, 1.0], [0.2, 0.7]], np.float32)
    assert model.labels_of(scores).tolist() == [[1, 0], [2, 1], [0, 1]]
    by_language = model.labels_of(scores, ["de-AT", "en", "DE"])
    assert by_language.tolist() == [[0, 0], [2, 1], [0, 2]]
    assert model.labels_of(scores, [None, "", "fr"]).tolist() == [[1, 0], [2, 1], [0, 1]]


def test_a_layer_of_embeddings_is_a_model_too() -> None:
    linear = small_model()
    head = np.array([[1, 0], [0, 1]], np.float32)
    rows = linear.model.rows
    deep = NgramModel(linear.model.rarities, rows, np.zeros(2, np.float32), head, linear.model.bias)
    scores = small_model(model=deep).scores(["oaf", "wink"])
    np.testing.assert_allclose(scores, linear.scores(["oaf", "wink"]), rtol=1e-5)


def test_thresholds_must_fit_the_labels() -> None:
    with pytest.raises(ValueError, match=r"'en' must have shape \(2, 2\), got \(1, 2\)"):
        small_model(thresholds={"": np.ones((2, 2)), "en": np.ones((1, 2))})
    with pytest.raises(ValueError, match="any language"):
        small_model(thresholds={})


def written(folder: Path, model: SafetyModel, labels: list[str]) -> tuple[ArtifactStore, str]:
    store = ArtifactStore(folder)
    with store.writing("trust_and_safety", schema_version=1) as draft:
        calibration = {"slopes": model.slopes, "offsets": model.offsets}
        draft.write_tensors("model.safetensors", model.model.tensors() | calibration)
        told = {
            "labels": labels,
            "precisions": [0.85, 0.95],
            "thresholds": {"": [[0.5, 0.5], [0.9, None]], "de": [[0.6, 0.5], [0.7, 0.6]]},
        }
        draft.write_json("labels.json", told)
    assert draft.version is not None
    return store, draft.version


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = small_model()
    store, version = written(tmp_path, model, ["toxicity", "nsfw_text"])
    read = read_safety_model(store, version)
    assert (read.labels, read.version, read.media) == (model.labels, version, None)
    assert read.thresholds[""].tolist() == model.thresholds[""].tolist()
    assert read.model.n_buckets == BUCKETS
    np.testing.assert_array_equal(read.scores(["oaf", "x"]), model.scores(["oaf", "x"]))


@pytest.mark.parametrize("width", [MEDIA_DIMENSIONS, 8])
def test_a_media_head_is_used_where_it_reads_what_events_carry(
    tmp_path: Path, width: int, caplog: pytest.LogCaptureFixture
) -> None:
    head = small_head(width)
    store = ArtifactStore(tmp_path)
    model = small_model()
    with store.writing("trust_and_safety", schema_version=1) as draft:
        calibration = {"slopes": model.slopes, "offsets": model.offsets}
        draft.write_tensors("model.safetensors", model.model.tensors() | calibration)
        draft.write_tensors("media.safetensors", dict(vars(head)))
        told = {"labels": model.labels, "precisions": [0.5], "thresholds": {"": [[0.5, 0.5]]}}
        draft.write_json("labels.json", told)
    read = read_safety_model(store, draft.written)
    if width != MEDIA_DIMENSIONS:
        assert read.media is None
        assert "reads 8 numbers, events carry 256" in caplog.text
        return
    assert read.media is not None
    embeddings = np.eye(2, width, dtype=np.float32)
    np.testing.assert_array_equal(read.media.scores(embeddings), head.scores(embeddings))
    assert not caplog.text


def test_labels_that_do_not_fit_the_tensors_are_refused(tmp_path: Path) -> None:
    store, version = written(tmp_path, small_model(), ["toxicity"])
    with pytest.raises(ValueError, match="has 2 outputs for"):
        read_safety_model(store, version)


def test_the_media_head_wants_embeddings_of_its_width() -> None:
    d = 4
    head = MediaHead(
        np.zeros(d, np.float32),
        np.ones(d, np.float32),
        np.eye(d, 2, dtype=np.float32),
        np.zeros(2, np.float32),
        np.array([1.0, -1.0], np.float32),
        np.array([0.0], np.float32),
    )
    scores = head.scores(np.array([[0, 0, 5, 5], [9, -9, 0, 0]], np.float32))
    np.testing.assert_allclose(scores, [0.5, 1 / (1 + np.exp(-2))], rtol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(n, 4\), got \(1, 3\)"):
        head.scores(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="finite"):
        head.scores(np.full((1, 4), np.nan, np.float32))
