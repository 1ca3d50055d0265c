"""The rules in effect: built-in ones, and those of files that are read again when they change."""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ordinaut_ext_observability.alerts.builtin import BUILTIN, apply_overrides, builtin_groups
from ordinaut_ext_observability.alerts.rules import RuleGroup
from ordinaut_ext_observability.alerts.runbooks import link_runbooks
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.settings.sections import RuleOverride

if TYPE_CHECKING:  # importing it takes YAML
    from ordinaut_ext_observability.alerts.rule_files import RuleFileError

Signature = tuple[int, ...]


class LoadedRules:
    """Groups by file. A file that cannot be used keeps the groups that it had before.

    Every method may be called from any thread; reading takes a fraction of a second, a large file some.
    """

    def __init__(self, patterns: Sequence[str], overrides: Mapping[str, RuleOverride], url: str = "") -> None:
        """`patterns` are paths, which may have shell wildcards; runbooks are below `url`. Nothing is read yet."""
        self._patterns = patterns
        self._overrides = overrides
        self._url = url
        self._lock = threading.Lock()
        self.readings = 0
        """Counts the times that files were read; then, `groups` may be others."""
        self._seen: dict[str, Signature] = {}
        self._groups: dict[str, tuple[RuleGroup, ...]] = {}
        self.problems: dict[str, RuleFileError] = {}
        """Problems of files that are not used as they are now, by file."""
        self.override_problems: dict[str, str] = {}
        """Problems of overrides of built-in rules, by the rule's name."""

    @property
    def groups(self) -> list[RuleGroup]:
        """All groups, the built-in ones first."""
        return [group for groups in self._groups.values() for group in groups]

    def have_changed(self) -> bool:
        """Tell whether a file changed, came or went since the last reading."""
        return not self._groups or self._look() != self._seen

    def read_changed(self, *, all_files: bool = False) -> list[str]:
        """Read the files that changed since the last time, or all. Raises nothing; returns what is `refused`."""
        with forks_held_off():
            from ordinaut_ext_observability.alerts import results  # noqa: F401 - here, not on the loop that evaluates
            from ordinaut_ext_observability.alerts.rule_files import RuleFileError, read_rule_file

        with self._lock:
            seen = self._look()
            problems: dict[str, RuleFileError] = {}
            groups = {BUILTIN: self._groups.get(BUILTIN, ())}
            if not groups[BUILTIN]:
                found, self.override_problems = apply_overrides(builtin_groups(), self._overrides)
                groups[BUILTIN] = link_runbooks(found, self._url)
            for path, signature in seen.items():
                if not all_files and self._seen.get(path) == signature:
                    groups[path] = self._groups.get(path, ())
                    problems |= {path: self.problems[path]} if path in self.problems else {}
                    continue
                try:
                    groups[path] = read_rule_file(path)
                except RuleFileError as error:
                    groups[path], problems[path] = self._groups.get(path, ()), error
            self._seen, self._groups, self.problems = seen, groups, problems
            self.readings += 1
            return self.refused()

    def refused(self) -> list[str]:
        """Sentences about files that are not used as they are now."""
        return [f"rule file not used: {problem}" for problem in self.problems.values()]

    def _look(self) -> dict[str, Signature]:
        """The files that the patterns name, with what changes when they do; a path without wildcards is always one."""
        found = (sorted(glob.glob(each)) if glob.has_magic(each) else [each] for each in self._patterns)  # noqa: PTH207 - as Prometheus has it
        return {path: _signature(path) for paths in found for path in paths}


def _signature(path: str) -> Signature:
    try:
        found = os.stat(path)  # noqa: PTH116 - a name may be too long for a Path
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
