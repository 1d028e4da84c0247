"""Starts and stops the running system: detached actors on Ray, and the Serve application."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.exceptions import RayServeException
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.keeper import Keeper
from actors.labelling import Labelling
from actors.log_writer import LogWriter
from actors.ray_router import KEEPER, LABELLER, LOG_WRITER, connect_log, shard_name
from actors.shard import Shard
from cluster import ray_head
from cluster.run_record import RunRecord, read_record
from cluster.settings import Settings
from serve_app import application

READY_TIMEOUT_S = 180.0
_CALL_TIMEOUT_S = 10.0
_SERVE_END_S = 30.0
_LOOK_EVERY_S = 0.1
_CALLS_AT_ONCE = 8
"""Of one actor: health is told while a version is made ready."""

Report = Callable[[str], None]


class LaunchError(RuntimeError):
    """The system could not be started as asked."""


def up(
    settings: Settings,
    *,
    until_ms: int | None = None,
    http: bool = True,
    report: Report = lambda _: None,
) -> RunRecord:
    """Start everything that does not run yet, and wait until it answers.

    `until_ms` makes shards that hold only the events up to a past instant. Raises
    `LaunchError`, also where another system runs on the same data, or `RayProblem`.
    """
    settings = absolute(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    report("connecting to Ray")
    record = ray_head.connect(settings, start=True, until_ms=until_ms)
    if differences := record.differences(settings, until_ms):
        raise LaunchError(
            f"another system runs on {settings.data_dir}: {'; '.join(differences)}. "
            "Run `murmuration down` first"
        )
    _check_nodes(settings)
    report("starting the log")
    writer = None
    if settings.log.kind == "sqlite":
        writer = _actor(settings, LOG_WRITER, LogWriter, settings)
        ray.get(writer.heads.remote(), timeout=READY_TIMEOUT_S)
    else:
        connect_log(settings)
    report(f"starting {settings.shards.count} shards")
    shards = [
        _actor(
            settings,
            shard_name(shard),
            Shard,
            *(settings, shard, settings.shards.count, until_ms),
        )
        for shard in range(settings.shards.count)
    ]
    _actor(settings, KEEPER, Keeper, settings, writer, until_ms is None)
    _actor(settings, LABELLER, Labelling, settings)
    _wait_ready(shards, report)
    if http:
        report("starting the HTTP service")
        _start_serving(settings, until_ms)
    return record


def down(settings: Settings, report: Report = lambda _: None) -> bool:
    """Stop the system on this data; returns whether there was one.

    Nothing acknowledged is lost. On a Ray that somebody else started, only what is this system's
    own is ended.
    """
    settings = absolute(settings)
    known = read_record(settings)
    if known:
        namespace = known.settings.get("namespace", settings.namespace)
        settings = settings.model_copy(update={"namespace": namespace})
    try:
        record = ray_head.connect(settings, start=False)
    except ray_head.RayProblem:
        ray_head.disconnect_and_stop(settings)
        return known is not None
    report("stopping the HTTP service")
    _stop_serving(settings, record)
    report("stopping the actors")
    names = [shard_name(shard) for shard in range(1024)]
    running = set(ray_head.actor_names(settings))
    for name in [*names, LABELLER, KEEPER, LOG_WRITER]:
        if name in running:
            _end_actor(settings, name)
    report("stopping Ray")
    ray_head.disconnect_and_stop(settings)
    return True


def status(settings: Settings) -> dict[str, Any]:
    """What runs and how it is; raises `RayProblem` where nothing does."""
    settings = absolute(settings)
    record = ray_head.connect(settings, start=False)
    shards = []
    for shard in range(settings.shards.count):
        found = _status_of(settings, shard_name(shard))
        shards.append({"shard": shard, "ready": False, **found})
    keeper, labeller = (_status_of(settings, name) for name in (KEEPER, LABELLER))
    return {
        "address": f"http://{record.http_host}:{record.http_port}",
        "ray": record.address,
        "until_ms": record.until_ms,
        "shards": shards,
        "keeper": keeper,
        "labeller": labeller,
    }


def flush_archive(settings: Settings, timeout_s: float = 600.0) -> None:
    """Wait until the archive holds everything acknowledged so far."""
    keeper = ray.get_actor(KEEPER, settings.namespace)
    ray.get(keeper.flush.remote(), timeout=timeout_s)


def wait_applied(settings: Settings, timeout_s: float = 600.0) -> None:
    """Wait until every shard has applied everything acknowledged before the call.

    Raises `LaunchError` after the timeout, naming a shard that is behind.
    """
    started = time.monotonic()
    while True:
        asked = time.monotonic()
        behind = [
            shard["shard"]
            for shard in status(settings)["shards"]
            if not shard["ready"] or shard["lag_ms"] > (asked - started) * 1000
        ]
        if not behind:
            return
        if asked - started > timeout_s:
            raise LaunchError(f"shard {behind[0]} is behind the log after {timeout_s} s")
        time.sleep(0.05)


def preload(settings: Settings, name: str, version: str) -> None:
    """Have every shard load a version beside the active one; raises what is wrong with it."""
    calls = [
        ray.get_actor(shard_name(shard), settings.namespace).preload.remote(name, version)
        for shard in range(settings.shards.count)
    ]
    ray.get(calls, timeout=660)


def absolute(settings: Settings) -> Settings:
    """Settings whose data directory means the same in every process."""
    return settings.model_copy(update={"data_dir": settings.data_dir.resolve()})


def _actor(settings: Settings, name: str, kind: type, *arguments: Any) -> Any:
    """The named actor: the one that runs, or a new one that Ray restarts when it dies."""
    options: dict[str, Any] = {
        "name": name,
        "namespace": settings.namespace,
        "get_if_exists": True,
        "lifetime": "detached",
        "max_restarts": -1,
        "max_concurrency": _CALLS_AT_ONCE,
        "max_pending_calls": 1_000,
        "num_cpus": 0,
    }
    # Ray's types know no actors of a variable class.
    make: Any = ray.remote
    if settings.log.kind == "sqlite":
        node = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    return make(kind).options(**options).remote(*arguments)


def _wait_ready(shards: list[Any], report: Report) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    waiting = dict(enumerate(shards))
    while waiting:
        for shard, actor in list(waiting.items()):
            state = ray.get(actor.status.remote(), timeout=READY_TIMEOUT_S)
            if state["ready"]:
                del waiting[shard]
            elif state["ended"] or time.monotonic() > deadline:
                raise LaunchError(f"shard {shard} is not ready: {state['failure'] or 'restoring'}")
        if waiting:
            report(f"waiting for {len(waiting)} of {len(shards)} shards to be restored")
            time.sleep(0.1)


def _check_nodes(settings: Settings) -> None:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if settings.log.kind == "sqlite" and len(nodes) > 1:
        raise LaunchError(
            f"the SQLite log serves one machine, and this Ray cluster has {len(nodes)}: "
            "set log.kind to jetstream"
        )


def _status_of(settings: Settings, name: str) -> dict[str, Any]:
    try:
        actor: Any = ray.get_actor(name, settings.namespace)
        return dict(ray.get(actor.status.remote(), timeout=_CALL_TIMEOUT_S))
    except (ValueError, RayError) as error:
        return {"failure": str(error)[:200]}


def _start_serving(settings: Settings, until_ms: int | None) -> None:
    http = settings.http
    serve.start(http_options={"host": http.host, "port": http.port}, detached=True)
    try:
        serve.run(application(settings, until_ms), name=settings.namespace, route_prefix="/")
    except RayServeException as error:
        # What the controller raised comes with Ray's account of where.
        problem = getattr(error, "cause", error)
        raise LaunchError(f"the HTTP service was not started: {problem}") from error


def _stop_serving(settings: Settings, record: RunRecord) -> None:
    """End our application, and Serve itself unless others use it on a Ray that is theirs."""
    if record.started_ray:
        _end_serve()
        return
    if settings.namespace in serve.status().applications:
        serve.delete(settings.namespace)
        if not serve.status().applications:
            serve.shutdown()


def _end_serve() -> None:
    """Have Serve end by itself, as far as it does in time.

    `serve.shutdown` waits in a call of which Ray says, where it still can, that it failed.
    """
    until_s = time.monotonic() + _SERVE_END_S
    try:
        controller: Any = ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=_CALL_TIMEOUT_S)
        while time.monotonic() < until_s:
            ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
            time.sleep(_LOOK_EVERY_S)
    except (ValueError, RayError):
        return


def _end_actor(settings: Settings, name: str) -> None:
    try:
        actor: Any = ray.get_actor(name, settings.namespace)
        stop = actor.close if name == LOG_WRITER else actor.stop
        ray.get(stop.remote(), timeout=_CALL_TIMEOUT_S)
    except (ValueError, RayError):
        pass
    try:
        ray.kill(ray.get_actor(name, settings.namespace), no_restart=True)
    except (ValueError, RayError):
        return
