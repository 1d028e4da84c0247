"""How Schemathesis writes bodies of events in the forms that it does not know itself."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """A line for each event."""
    events = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(event) for event in events).encode()
