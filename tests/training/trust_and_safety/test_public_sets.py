import gzip
from pathlib import Path

import numpy as np
import pytest

from training.job import TrainingError
from training.trust_and_safety.public_sets import read_folder


def test_each_set_is_read_in_its_own_form(tmp_path: Path) -> None:
    for name in ("davidson", "toxic_spans", "openai_moderation", "unrelated"):
        (tmp_path / name).mkdir()
    (tmp_path / "davidson" / "labeled_data.csv").write_text(
        ",count,hate_speech,offensive_language,neither,class,tweet\n"
        "0,3,3,0,0,0,one\n1,3,0,3,0,1,two\n2,3,0,0,3,2,three\n"
    )
    (tmp_path / "toxic_spans" / "comments.csv").write_text(
        'comment_id,comment_text\n5,"four, five"\n6,six\n7,seven\n'
    )
    (tmp_path / "toxic_spans" / "annotations.csv").write_text(
        "annotation,comment_id,worker,country,all toxic,not toxic\n"
        "0,5,1,USA,False,False\n1,5,2,USA,False,True\n2,6,1,USA,True,True\n3,9,1,USA,False,True\n"
    )
    with gzip.open(tmp_path / "openai_moderation" / "samples-1680.jsonl.gz", "wt") as file:
        file.write('{"prompt":"eight","S":1,"H":0,"HR":0}\n{"prompt":"nine","H2":1,"S":0}\n')
        file.write('{"prompt":"ten","H":0}\n')
    (tmp_path / "own.csv").write_text("text,spam\neleven,1\n")
    davidson, spans, prompts, own = read_folder(tmp_path)

    assert davidson.labels == ("toxicity", "hate", "abuse")
    assert davidson.values.tolist() == [[1, 1, 1], [1, 0, -1], [0, 0, 0]]
    assert spans.texts == ["four, five", "six", "seven"]
    assert spans.values[:, 0].tolist() == [1, 0, -1]
    column = dict(zip(prompts.labels, prompts.values.T.tolist(), strict=True))
    assert column["toxicity"] == [0, 1, -1]
    assert column["hate"] == [0, 1, 0]
    assert column["nsfw_text"] == [1, 0, -1]
    assert column["violence"] == [-1, -1, -1]
    assert own.sources == ("own.csv",)
    assert read_folder(tmp_path / "own.csv")[0].texts == ["eleven"]


def test_a_folder_of_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to read in"):
        read_folder(tmp_path)
    with pytest.raises(TrainingError, match="is neither a folder nor"):
        read_folder(tmp_path / "missing")


def test_the_real_sets_have_the_published_sizes(data_dir: Path) -> None:
    found = {data.sources[0]: data for data in read_folder(data_dir)}
    davidson = found["davidson"]
    hate = davidson.values[:, davidson.labels.index("hate")]
    toxic = davidson.values[:, davidson.labels.index("toxicity")]
    assert (len(davidson), (hate == 1).sum(), (toxic == 1).sum()) == (24_783, 1_430, 20_620)
    assert len(found["toxic_spans"]) == 16_100
    assert (found["toxic_spans"].values != -1).all()
    prompts = found["openai_moderation"]
    nsfw = prompts.values[:, prompts.labels.index("nsfw_text")]
    assert (len(prompts), np.sum(nsfw == 1) >= 237) == (1_680, True)
