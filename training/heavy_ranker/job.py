"""The job `heavy_ranker`: from the archive to a model that serves, if it may.

The artifact is what `training.heavy_ranker.export` writes, and `training.json` for people. It
goes on from the weights of the newest version that was accepted, with the examples that came
since; its first run, and each after inputs or sizes have changed, learns from all of them. The
metric `gate` says whether the version is `accepted` or `refused` (see `gate`); a refused one is
kept, but must not be activated, and nothing goes on from it.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from actors.features.inputs import RankerInputs, Schema
from actors.features.registry import schema_of
from actors.features.tasks import TASK_NAMES
from actors.ranker_inputs.as_of import inputs_as_of
from actors.ranker_inputs.found import source_codes
from actors.state import ShardState
from cluster.archive import Archive
from cluster.archive_catalog import start_of_date_ms
from cluster.artifact_manifest import Manifest
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.ranker_settings import HeavyRankerSettings
from cluster.settings import Settings
from training.facts import pair_keys
from training.heavy_ranker import examples as example_files
from training.heavy_ranker.evaluate import Judged, by_task
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.gate import ACCEPTED, ByTask, verdict
from training.heavy_ranker.labelled import labelled
from training.heavy_ranker.labels import UNWANTED
from training.heavy_ranker.light_scores import light_logits
from training.heavy_ranker.past import InputsAsOf
from training.job import Progress, Trained, TrainingError, silent
from training.metrics import ranking_metrics
from training.work_folder import work_folder

HEAVY_RANKER = "heavy_ranker"
HEAVY_RANKER_SCHEMA = 1

MIN_EXAMPLES = 200
MIN_POSITIVES = 20

_SIZES = (
    *("row_norm", "form", "blocks", "mask_width", "block_width", "backbone", "towers"),
    "tables",
)
_OF_THE_RESULT = frozenset(
    {
        *_SIZES,
        *("features", "table_dimensions", "batch", "epochs", "learning_rate_scale"),
        *("table_learning_rate", "dropout", "negatives_kept", "sampling_corrected"),
        *("learning_rate_decay", "tower_rates", "task_weights", "table_start"),
        *("attribution_ms", "max_examples", "seed"),
    }
)
"""Settings that make another model."""


def train(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    *,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Learn from what was archived before `until_ms` and write a new `heavy_ranker`.

    The latest examples are not learnt from: one half of them calibrates, the other judges.
    Works in a private folder of the data directory, which a job that was cut off leaves behind
    for the next one to go on from, as long as the archive has not grown.

    Raises `TrainingError`, naming what is missing, where there is too little to learn from or
    another job works in the folder; nothing is written then.
    """
    chosen, dimensions = settings.heavy_ranker.features, settings.training.twhin.dimensions
    schema = schema_of(chosen, dimensions)

    def as_of(
        state: ShardState,
        viewer_id: int,
        post_ids: Ids,
        sources: Sequence[str | None],
        now_ms: int,
    ) -> RankerInputs:
        codes = source_codes(sources)
        return inputs_as_of(state, viewer_id, post_ids, codes, now_ms, chosen, dimensions)

    return learn(settings, archive, artifacts, schema, as_of, until_ms, progress)


def learn(
    settings: Settings,
    archive: Archive,
    artifacts: ArtifactStore,
    schema: Schema,
    as_of: InputsAsOf,
    until_ms: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """`train` with inputs of any schema, which `as_of` gives of any instant."""
    ranker = settings.heavy_ranker
    if until_ms is None:
        until_ms = _end_ms(archive)
    earlier = _newest_accepted(artifacts, until_ms)
    before = _Before.of(earlier, artifacts, schema, ranker) if earlier else None
    since_ms = before.trained_until_ms if before and before.goes_on else 0
    told = {
        "settings": ranker.model_dump(mode="json", include=set(_OF_THE_RESULT)),
        "schema": schema.fingerprint,
        "until_ms": until_ms,
        "since_ms": since_ms,
        "earlier": earlier.version if earlier else None,
        "archive": sorted(archive.positions().items()),
    }
    with work_folder(settings.data_dir / "training" / HEAVY_RANKER, told) as folder:
        began_s = time.perf_counter()
        written = _examples(
            folder / "examples", settings, archive, schema, as_of, since_ms, until_ms, progress
        )
        written_s = time.perf_counter()
        # Importing torchrec takes seconds, which only those who train should pay.
        from training.heavy_ranker.fit import fit, judge

        examples = ExampleSet.open(written.paths(folder / "examples"), schema)
        start = before.folder if before and before.goes_on else None
        fitted = fit(examples, settings, ranker, folder / "run", start=start, progress=progress)
        fitted_s = time.perf_counter()
        progress("judging", 0.0)
        judged = judge(fitted.model, fitted.calibration, fitted.judged)
        found = by_task(judged)
        light_version, logits = light_logits(
            settings,
            archive,
            artifacts,
            fitted.judged,
            until_ms,
            lambda share: progress("judging", share),
        )
        light = _aurocs(judged, logits)
        of_earlier = before.judged_by(fitted.judged) if before and before.fits else None
        decided = verdict(found, light, of_earlier, ranker)
        held_out = examples.described("time_ms")[len(fitted.run.examples)]
        metrics: dict[str, Any] = {
            **decided.as_metrics(),
            "evaluation": fitted.evaluation,
            "light_ranker": {"version": light_version, "auroc": light},
            "earlier": earlier and {"version": earlier.version, "evaluation": of_earlier},
            "ranking": _rankings(judged, fitted.judged, logits, settings),
            "examples": _counts(written),
            "judged_from_ms": int(fitted.judged.described("time_ms")[0]),
            "held_out_from_ms": int(held_out),
            "loss": fitted.curve[-1].loss if fitted.curve else None,
        }
        with artifacts.writing(
            HEAVY_RANKER,
            schema_version=HEAVY_RANKER_SCHEMA,
            metrics=metrics,
            depends_on={HEAVY_RANKER: earlier.version} if earlier and start else None,
            data_range_ms=(written.range_ms[0], until_ms),
        ) as draft:
            fitted.export(draft.folder)
            draft.write_json(
                "training.json",
                {
                    "settings": ranker.model_dump(mode="json"),
                    "examples": asdict(written),
                    "curve": [list(point) for point in fitted.curve],
                },
            )
        shutil.rmtree(folder)
    progress("judging", 1.0)
    seconds = {
        "examples": written_s - began_s,
        "fit": fitted_s - written_s,
        "judging": time.perf_counter() - fitted_s,
    }
    return Trained(HEAVY_RANKER, draft.written, metrics, seconds)


@dataclass(frozen=True)
class _Before:
    """The version before: what it knows already, and whether it can be compared and gone on."""

    folder: Path
    fits: bool
    """It reads the same inputs."""
    goes_on: bool
    """It has the same sizes too."""
    trained_until_ms: int
    """Requests from this instant on it has not learnt from."""
    schema: Schema
    settings: HeavyRankerSettings
    """With the sizes of that version."""
    calibration: dict[str, tuple[float, float]]

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        artifacts: ArtifactStore,
        schema: Schema,
        settings: HeavyRankerSettings,
    ) -> "_Before":
        """Reads what the version says of itself."""
        artifact = artifacts.open(HEAVY_RANKER, manifest.version)
        told = artifact.json("model.json")
        fits = told["schema"]["fingerprint"] == schema.fingerprint
        fits &= tuple(told["tasks"]) == TASK_NAMES
        own = HeavyRankerSettings.model_validate({**settings.model_dump(), **told["settings"]})
        same = all(getattr(own, size) == getattr(settings, size) for size in _SIZES)
        return cls(
            artifact.folder,
            fits,
            fits and same,
            int(manifest.metrics["held_out_from_ms"]),
            schema,
            own,
            {task: (a, b) for task, (a, b) in told["calibration"].items()},
        )

    def judged_by(self, examples: ExampleSet) -> ByTask:
        """Its metrics on the same latest examples, which it has never seen."""
        from training.heavy_ranker.export import read_weights
        from training.heavy_ranker.fit import judge
        from training.heavy_ranker.model import HeavyRanker

        model = HeavyRanker(self.schema, self.settings).eval()
        model.load_state_dict(read_weights(self.folder, self.schema, self.settings))
        return by_task(judge(model, self.calibration, examples))


def _examples(
    folder: Path,
    settings: Settings,
    archive: Archive,
    schema: Schema,
    as_of: InputsAsOf,
    since_ms: int,
    until_ms: int,
    progress: Progress,
) -> example_files.Manifest:
    """The data set of requests of a range; raises `TrainingError` where it is too small."""
    ranker = settings.heavy_ranker
    progress("labels", 0.0)
    # Corrected afterwards, what is left out has to be known to training, which draws it then.
    kept = ranker.negatives_kept if ranker.sampling_corrected == "weights" else 1.0
    found = labelled(
        archive,
        since_ms,
        until_ms,
        attribution_ms=ranker.attribution_ms,
        negatives_kept=kept,
        max_examples=ranker.max_examples,
        seed=ranker.seed,
    )
    if len(found) < MIN_EXAMPLES:
        # Said before what may take a replay of the whole archive.
        raise TrainingError(
            f"what was shown since {since_ms} ms makes {len(found)} examples; at least"
            f" {MIN_EXAMPLES} are needed"
        )
    written = example_files.write_examples(
        folder,
        settings,
        archive,
        schema,
        found,
        until_ms=until_ms,
        negatives_kept=kept,
        inputs_as_of=as_of,
        progress=progress,
    )
    most = max(written.positives.values())
    if written.examples < MIN_EXAMPLES or most < MIN_POSITIVES:
        since = f" since {since_ms} ms, to which the version before has learnt," if since_ms else ""
        raise TrainingError(
            f"too little to learn from: what was shown{since} makes {written.examples:,} examples "
            f"whose label can be known, and no engagement has more than {most:,} of them; at "
            f"least {MIN_EXAMPLES} and {MIN_POSITIVES} are needed"
        )
    return written


def _end_ms(archive: Archive) -> int:
    """The instant after the last event."""
    dates = archive.dates()
    if not dates:
        return 0
    last = archive.scan(since_ms=start_of_date_ms(dates[-1]), columns=["time_ms"])
    return int(last.column("time_ms")[-1].as_py()) + 1


def _newest_accepted(artifacts: ArtifactStore, until_ms: int) -> Manifest | None:
    """The newest accepted version whose data ends by an instant."""
    for version in reversed(artifacts.versions(HEAVY_RANKER)):
        manifest = artifacts.manifest(HEAVY_RANKER, version)
        data = manifest.data_range_ms
        if manifest.metrics.get("gate") == ACCEPTED and data and data[1] <= until_ms:
            return manifest
    return None


def _aurocs(judged: Judged, logits: npt.NDArray[np.float32]) -> dict[str, float]:
    """AUROC of one score for every task, where both labels are known of some example."""
    found = {}
    for i, task in enumerate(judged.tasks):
        known = judged.mask[:, i] > 0
        labels = judged.labels[known, i] > 0.5
        if labels.any() and not labels.all():
            weights = judged.weights[known]
            found[task] = float(roc_auc_score(labels, logits[known], sample_weight=weights))
    return found


def _rankings(
    judged: Judged, examples: ExampleSet, logits: npt.NDArray[np.float32], settings: Settings
) -> dict[str, dict[str, float]]:
    """How well the weighted score, and the light ranker's, order what one page showed.

    Wanted is what the viewer engaged with and gave no negative feedback on.
    """
    weights = settings.heavy_ranker.weights.model_dump()
    score = judged.probabilities @ np.array([weights[task] for task in judged.tasks])
    unwanted = np.isin(judged.tasks, UNWANTED)
    happened = judged.labels > 0
    labels: npt.NDArray[np.bool_] = happened[:, ~unwanted].max(axis=1)
    labels &= ~happened[:, unwanted].max(axis=1)
    if not labels.any() or labels.all():
        return {}
    times_ms, viewers = (examples.described(name) for name in ("time_ms", "viewer_id"))
    groups = pair_keys(times_ms, viewers)
    seed = settings.heavy_ranker.seed
    return {
        "heavy_ranker": ranking_metrics(score, labels, groups, seed),
        "light_ranker": ranking_metrics(logits, labels, groups, seed),
    }


def _counts(written: example_files.Manifest) -> dict[str, Any]:
    told = json.loads(json.dumps(asdict(written)))
    return {name: value for name, value in told.items() if name not in ("parts", "tasks", "schema")}
