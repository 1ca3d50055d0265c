"""A relay store in Redis or Valkey: each operation is one script, by the server's clock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import AuthenticationError, AuthorizationError, ConnectionError, RedisError, TimeoutError
from redis.retry import Retry

from ordinaut_ext_observability.relay.base import (
    EPOCHS_KEPT,
    ORIGINS_KEPT,
    Published,
    Reading,
    Refused,
    Retired,
    StoredVector,
    StoreUnavailableError,
)
