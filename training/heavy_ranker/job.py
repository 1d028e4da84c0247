"""The job `heavy_ranker`: from the archive to a model that serves, if it may.

The artifact is what `training.heavy_ranker.export` writes, and `training.json` for people. It
goes on from the weights of the newest version that was accepted, with the examples that came
since; its first run, each after inputs or sizes have changed, and each while there are few
examples (`heavy_ranker.anew_below`), learns from all of them. The
metric `gate` says whether the version is `accepted` or `refused` (see `gate`); a refused one is
kept, but must not be activated, and nothing goes on from it.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.features.inputs import RankerInputs, Schema
from actors.features.registry import schema_of
from actors.models import HEAVY_RANKER, HEAVY_RANKER_SCHEMA
from actors.ranker_inputs.as_of import inputs_as_of
from actors.ranker_inputs.found import source_codes
from actors.state import ShardState
from cluster.archive import Archive
from cluster.archive_catalog import start_of_date_ms
from cluster.artifacts import ArtifactStore
from cluster.ids import Ids
from cluster.ranker_settings import HeavyRankerSettings
from cluster.settings import Settings
from training.heavy_ranker import examples as example_files
from training.heavy_ranker.comparison import Compared, compare
from training.heavy_ranker.example_set import ExampleSet
from training.heavy_ranker.gate import ACCEPTED, REFUSED, best_of, verdict
from training.heavy_ranker.labelled import Labelled, labelled
from training.heavy_ranker.light_scores import light_logits
from training.heavy_ranker.past import InputsAsOf
from training.heavy_ranker.pinned import pinned
from training.heavy_ranker.versions import (
    SIZES,
    Tried,
    Version,
    last_tried,
    newest_accepted,
    reference_of,
)
from training.job import NothingNew, Progress, Trained, TrainingError, silent
from training.work_folder import work_folder

MIN_EXAMPLES = 200
MIN_POSITIVES = 20

_OF_THE_RESULT = frozenset(
    {
        *SIZES,
        *("features", "table_dimensions", "batch", "epochs", "anew_below", "learning_rate_scale"),
        *("table_learning_rate", "dropout", "negatives_kept", "sampling_corrected"),
        *("learning_rate_decay", "tower_rates", "task_weights", "table_start"),
        *("attribution_ms", "max_examples", "replayed_from", "seed"),
    }
)
"""Settings that make another model."""
_OF_THE_GATE = frozenset({"min_judged_positives", "auroc_tolerance", "rce_tolerance"})
"""Settings by which another verdict may be given, beside the light ranker's share in scores."""


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
    for the next one to go on from, with the examples that it had: what was archived meanwhile
    is learnt from afterwards.

    Raises `TrainingError`, naming what is missing, where there is too little to learn from or
    another job works in the folder, and `NothingNew` where there is little that the same settings
    were not tried with; nothing is written then.
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
    ranker, home = settings.heavy_ranker, settings.data_dir / "training" / HEAVY_RANKER
    asked_ms, until_ms = until_ms, _end_ms(archive) if until_ms is None else until_ms
    recipe = _recipe(settings, schema)
    accepted = newest_accepted(artifacts, until_ms)
    earlier = Version.of(accepted, artifacts, schema, ranker) if accepted else None
    start = earlier if earlier and _goes_on(earlier, ranker) else None
    since_ms = start.trained_until_ms if start else 0
    _refuse_nothing_new(settings, archive, last_tried(artifacts, recipe, until_ms), until_ms)
    told = {
        "recipe": recipe,
        "until_ms": asked_ms,
        "since_ms": since_ms,
        "earlier": earlier and earlier.name,
    }
    with work_folder(home, told) as folder:
        began_s = time.perf_counter()
        begun = _is_enough(example_files.written_before(folder / "examples"))
        pin = pinned(folder, archive, until_ms, goes_on=begun)
        written = _examples(
            *(folder / "examples", settings, archive, schema, as_of),
            *(since_ms, pin.until_ms, progress),
        )
        written_s = time.perf_counter()
        # Importing torchrec takes seconds, which only those who train should pay.
        from training.heavy_ranker.fit import fit

        examples = ExampleSet.open(written.paths(folder / "examples"), schema)
        fitted = fit(
            *(examples, settings, ranker, folder / "run"),
            start=start.folder if start else None,
            progress=progress,
        )
        fitted_s = time.perf_counter()
        progress("judging", 0.0)
        light_version, logits = light_logits(
            *(settings, archive, artifacts, fitted.judged, pin.until_ms),
            lambda share: progress("judging", share),
            ranker.replayed_from,
        )
        before = {"earlier": earlier} if earlier and earlier.fits else {}
        if accepted and (reference := reference_of(accepted, artifacts, schema, ranker)):
            before["reference"] = reference
        share = settings.heuristics.factors.light_ranker_share
        compared = compare(fitted.outcome, fitted.judged, logits, before, ranker, share)
        decided = verdict(compared.found, compared.in_order, compared.before, ranker)
        metrics: dict[str, Any] = {
            **decided.as_metrics(),
            "recipe": recipe,
            "evaluation": fitted.evaluation,
            "light_ranker": {
                "version": light_version,
                "auroc": compared.light,
                "left_out": compared.left_out,
            },
            "earlier": earlier
            and {"version": earlier.name, "evaluation": compared.before.get("earlier")},
            "reference": _reference(compared, before, ranker, decided.accepted),
            "in_order": compared.in_order,
            "ranking": compared.ranking,
            "examples": _counts(written),
            "learnt_from": len(fitted.run.examples) + (start.learnt_from if start else 0),
            "judged_from_ms": int(fitted.judged.described("time_ms")[0]),
            "held_out_from_ms": int(examples.described("time_ms")[len(fitted.run.examples)]),
            "loss": fitted.curve[-1].loss if fitted.curve else None,
        }
        with artifacts.writing(
            HEAVY_RANKER,
            schema_version=HEAVY_RANKER_SCHEMA,
            metrics=metrics,
            depends_on={HEAVY_RANKER: start.name} if start else None,
            data_range_ms=(written.range_ms[0], pin.until_ms),
        ) as draft:
            fitted.export(draft.folder)
            draft.write_json(
                "training.json",
                {
                    "settings": ranker.model_dump(mode="json"),
                    "examples": asdict(written),
                    "archive": pin.archive,
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


def _goes_on(earlier: Version, ranker: HeavyRankerSettings) -> bool:
    """Whether to go on from a version's weights, or to learn anew from everything.

    A few thousand examples more, gone over again and again, take a small network away from what
    it learnt before; as long as all of them are few, learning from all costs little.
    """
    return earlier.goes_on and earlier.learnt_from >= ranker.anew_below


def _recipe(settings: Settings, schema: Schema) -> str:
    """A short name of everything but data that decides what is made, and how it is judged."""
    of_ranker = set(_OF_THE_RESULT | _OF_THE_GATE)
    told = {
        "settings": settings.heavy_ranker.model_dump(mode="json", include=of_ranker),
        "light_ranker_share": settings.heuristics.factors.light_ranker_share,
        "schema": schema.fingerprint,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _refuse_nothing_new(
    settings: Settings, archive: Archive, tried: Tried | None, until_ms: int
) -> None:
    """Raise `NothingNew` where the recipe was tried already, and little has come since.

    From the same examples the same would be made, and refused again if it was. Accepted weights
    are gone on from with whatever makes a training; after a refusal there must be enough new
    examples for others to judge by.
    """
    if tried is None:
        return
    needed = MIN_EXAMPLES
    if not tried.accepted:
        needed = max(needed, round(settings.heavy_ranker.retried_from * tried.examples))
    new = len(_labelled(settings, archive, tried.until_ms, until_ms))
    if new < needed:
        became = ACCEPTED if tried.accepted else REFUSED
        raise NothingNew(
            f"{tried.version} ({became}) was made of {tried.examples:,} examples, and of what was "
            f"shown since only {new:,} are new; the next is tried with {needed:,}"
        )


def _reference(
    compared: Compared,
    before: Mapping[str, Version],
    ranker: HeavyRankerSettings,
    accepted: bool,
) -> dict[str, Any] | None:
    """The best version there is now, and what it was judged; no name for the new one."""
    versions = {**compared.before, **({"new": compared.found} if accepted else {})}
    if not versions:
        return None
    # Of versions that are as good, the reference stays what it was.
    names = [name for name in ("reference", "earlier", "new") if name in versions]
    best = best_of({name: versions[name] for name in names}, ranker)
    told = {"evaluation": versions[best]}
    return told if best == "new" else {"version": before[best].name, **told}


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
    if (found := example_files.written_before(folder)) is None:
        progress("labels", 0.0)
        shown = _labelled(settings, archive, since_ms, until_ms)
        if len(shown) < MIN_EXAMPLES:
            # Said before what may take a replay of the whole archive.
            raise TrainingError(
                f"what was shown since {since_ms} ms makes {len(shown)} examples; at least"
                f" {MIN_EXAMPLES} are needed"
            )
        found = example_files.write_examples(
            *(folder, settings, archive, schema, shown),
            until_ms=until_ms,
            negatives_kept=_written_share(settings.heavy_ranker),
            inputs_as_of=as_of,
            replayed_from=settings.heavy_ranker.replayed_from,
            progress=progress,
        )
    if not _is_enough(found):
        since = f" since {since_ms} ms, to which the version before has learnt," if since_ms else ""
        raise TrainingError(
            f"too little to learn from: what was shown{since} makes {found.examples:,} examples "
            "whose label can be known, and no engagement has more than "
            f"{max(found.positives.values()):,} of them; at least {MIN_EXAMPLES} and "
            f"{MIN_POSITIVES} are needed"
        )
    return found


def _labelled(settings: Settings, archive: Archive, since_ms: int, until_ms: int) -> Labelled:
    """What was shown by requests of a range, as far as it is written."""
    ranker = settings.heavy_ranker
    return labelled(
        *(archive, since_ms, until_ms),
        attribution_ms=ranker.attribution_ms,
        negatives_kept=_written_share(ranker),
        max_examples=ranker.max_examples,
        seed=ranker.seed,
    )


def _written_share(ranker: HeavyRankerSettings) -> float:
    """Of examples without any engagement."""
    # Corrected afterwards, what is left out has to be known to training, which draws it then.
    return ranker.negatives_kept if ranker.sampling_corrected == "weights" else 1.0


def _is_enough(found: example_files.Manifest | None) -> bool:
    """Whether there is something to learn from."""
    if found is None:
        return False
    return found.examples >= MIN_EXAMPLES and max(found.positives.values()) >= MIN_POSITIVES


def _end_ms(archive: Archive) -> int:
    """The instant after the last event."""
    dates = archive.dates()
    if not dates:
        return 0
    last = archive.scan(since_ms=start_of_date_ms(dates[-1]), columns=["time_ms"])
    return int(last.column("time_ms")[-1].as_py()) + 1


def _counts(written: example_files.Manifest) -> dict[str, Any]:
    told = json.loads(json.dumps(asdict(written)))
    return {name: value for name, value in told.items() if name not in ("parts", "tasks", "schema")}
