"""The versions of the heavy ranker that a process holds: loaded aside, swapped in when sound."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import torch

from actors.features.inputs import RankerInputs
from actors.features.registry import schema_for
from actors.models import HEAVY_RANKER, HEAVY_RANKER_SCHEMA
from actors.ranker import Floats, RankerUnavailable
from cluster.artifacts import ArtifactStore
from cluster.ranker_settings import HeavyRankerSettings
from cluster.settings import Settings
from training.heavy_ranker.scoring import HeavyRankerModel

_KEPT = 2
"""The version that serves, and the one before it, which requests may still name."""
_RETRY_S = 30.0
"""After which a version that was refused is tried again: its file system may be back."""
_LOG = logging.getLogger(__name__)


class LoadedRankers:
    """Models by version. A request never waits for one: the old serves until the new is ready.

    A version that is corrupt, reads other inputs or gives what is not a number is refused,
    loudly, and the old one serves on. Thread-safe.
    """

    def __init__(self, artifacts: ArtifactStore, settings: Settings) -> None:
        self._artifacts = artifacts
        self._settings = settings
        self.tell_refused: Callable[[str], None] = lambda version: None
        """Is told of versions that are not served."""
        self._models: OrderedDict[str, HeavyRankerModel] = OrderedDict()
        self._refused_s: dict[str, float] = {}
        self._loading: str | None = None
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(settings.heavy_ranker.at_once)

    def serving(self, version: str) -> str | None:
        """The version that scores in the place of `version`; begins to load it where it must."""
        with self._lock:
            if version in self._models:
                # What serves last is kept longest, also after going back to an older version.
                self._models.move_to_end(version)
                return version
            refused_s = self._refused_s.get(version)
            again = refused_s is None or time.monotonic() - refused_s > _RETRY_S
            if self._loading is None and again:
                self._loading = version
                threading.Thread(
                    target=self._load, args=(version,), name="ranker", daemon=True
                ).start()
            return next(reversed(self._models), None)

    @property
    def ready(self) -> bool:
        """Whether any version is loaded."""
        return bool(self._models)

    def load(self, version: str) -> None:
        """Load a version now. Raises what is wrong with it."""
        model = read_model(self._artifacts, version, self._settings)
        with self._lock:
            self._models[version] = model
            while len(self._models) > _KEPT:
                self._models.popitem(last=False)

    def score(self, version: str, inputs: RankerInputs, timeout_s: float) -> Floats:
        """Probabilities (n, tasks). Raises `RankerUnavailable`, also where it is not its turn
        within `timeout_s`; once begun it is not interrupted."""
        model = self._models.get(version)
        if model is None:
            self.serving(version)
            raise RankerUnavailable(f"heavy_ranker {version} is not loaded")
        if not self._turns.acquire(timeout=max(timeout_s, 0.0)):
            raise RankerUnavailable(f"heavy_ranker {version} is overloaded")
        try:
            return model.score(inputs)
        except Exception as error:
            raise RankerUnavailable(f"heavy_ranker {version}: {error!r}") from error
        finally:
            self._turns.release()

    def _load(self, version: str) -> None:
        try:
            self.load(version)
        except Exception as error:
            # Whatever it is, the version must not be tried again by each request.
            _LOG.error("heavy_ranker %s is not served: %r", version, error)
            self._refused_s[version] = time.monotonic()
            self.tell_refused(version)
        finally:
            with self._lock:
                self._loading = None


def read_model(artifacts: ArtifactStore, version: str, settings: Settings) -> HeavyRankerModel:
    """Read and check one version: checksums, schema, finite weights and finite answers.

    Raises what `ArtifactStore.open` raises, and `ValueError` for what does not fit.
    """
    artifact = artifacts.open(HEAVY_RANKER, version, schema_version=HEAVY_RANKER_SCHEMA)
    ranker = settings.heavy_ranker
    return HeavyRankerModel.read(
        artifact.folder,
        schema_for(settings),
        precision=ranker.precision,
        threads=ranker.threads,
        device=_device(ranker),
    )


def _device(settings: HeavyRankerSettings) -> torch.device | None:
    """The GPU that was asked for; None where there is none, or the CPU is to score."""
    if not settings.gpus:
        return None
    if not torch.cuda.is_available():
        _LOG.warning("heavy_ranker.gpus is %s, but there is none here", settings.gpus)
        return None
    return torch.device("cuda")
