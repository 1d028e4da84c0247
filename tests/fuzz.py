"""Schemathesis against the OpenAPI document of a whole service in process: `make fuzz`.

It runs in an environment of its own and asks over HTTP with a token that may do everything.
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn

from cluster.tokens import Tokens
from tests.http_world import AUTHOR, TOKENS, VIEWER, a_lively_world, an_event

_HERE = Path(__file__).parent
_TOKEN = "token-that-may-do-everything"
_LIST = {"actor_id": VIEWER, "target_id": 71}
_EVENTS = [an_event("list_create", **_LIST), an_event("list_add", author_id=AUTHOR, **_LIST)]


def main() -> int:
    """Serve, have it asked, and return what the command returned: 0 where nothing was found.

    Arguments: the command, then its own options.
    """
    command, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for world in a_lively_world(Path(folder), _EVENTS):
            app = world.client.app
            app.state.tokens = Tokens({_TOKEN: list(TOKENS)})  # type: ignore[attr-defined]
            # Port 0: any that is free.
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
            serving = threading.Thread(target=server.run)
            serving.start()
            try:
                while not server.started:
                    serving.join(0.05)
                    if not serving.is_alive():
                        raise RuntimeError("the service ended before it served")
                port = server.servers[0].sockets[0].getsockname()[1]
                return subprocess.run(
                    [
                        *(command, "--config-file", str(_HERE / "schemathesis.toml")),
                        *("run", f"http://127.0.0.1:{port}/openapi.json"),
                        *("--header", f"Authorization: Bearer {_TOKEN}", *options),
                    ],
                    env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks"},
                    check=False,
                ).returncode
            finally:
                server.should_exit = True
                serving.join(30)
    return 1


if __name__ == "__main__":
    sys.exit(main())
