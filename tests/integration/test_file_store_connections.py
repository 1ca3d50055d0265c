"""Several connections of one process to the file of the installation, while other processes come and go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.sqlite import SqliteCluster

WRITES = """
import sys
from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import Put
from ordinaut_ext_observability.cluster.sqlite import SqliteCluster
store = SqliteCluster(sys.argv[1], Clock())
assert store.write([Put("word", int(sys.argv[2]), sys.argv[3].encode())])
store.close()
"""


def test_what_a_process_wrote_that_ended_is_seen_on_every_connection(tmp_path: Path) -> None:
    path = tmp_path / "store" / "file.sqlite"
    first, second = (SqliteCluster(str(path), Clock()) for _ in range(2))
    assert (first.get("word").content, second.get("word").content) == (b"", b"")
    for version, word in enumerate(["one", "two"]):
        subprocess.run([sys.executable, "-c", WRITES, str(path), str(version), word], check=True, timeout=30)
        assert (first.get("word").content, second.get("word").content) == (word.encode(), word.encode())
    first.close()
    second.close()
