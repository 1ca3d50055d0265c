"""Recent trouble of the host's, in memory and bounded: errors in groups, and requests that failed or were slow."""

from typing import NamedTuple

from ordinaut_ext_observability.trouble.errors import ErrorGroups
from ordinaut_ext_observability.trouble.requests import SlowRequests


class Trouble(NamedTuple):
    """The errors known to a process, and its requests that failed or were slow."""

    errors: ErrorGroups
    requests: SlowRequests
