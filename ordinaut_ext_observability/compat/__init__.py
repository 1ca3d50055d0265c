"""The surface that Ordinaut 2.2.2 calls as `observability`, on top of our own parts.

Importing these modules needs the standard library alone and does one thing: Ordinaut's full host loads the extension
with itself. Worker and scheduler images have neither FastAPI nor the host's `api` package. What a call needs is
imported when it is first made. Calls never raise.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from ordinaut_ext_observability.manifest import EXTENSION_ID

EAGER = "ORDINAUT_EXT_ENTRY_EAGER"


def load_extension_eagerly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add the extension to those that the host loads at its start, as it imports this before it loads any.

    What the variable names otherwise stays; where it is not a JSON object, or names us already, nothing is touched.
    """
    named = environment.get(EAGER)
    if named is None:
        environment[EAGER] = f'{{"{EXTENSION_ID}": true}}'
        return
    import json  # seldom needed, and half of this package's import

    try:
        eager = json.loads(named)
    except (ValueError, RecursionError):
        return
    if isinstance(eager, dict) and EXTENSION_ID not in eager:
        environment[EAGER] = json.dumps({**eager, EXTENSION_ID: True})
