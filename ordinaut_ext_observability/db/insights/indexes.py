"""The indexes of the host's tables: what each is on, how often it is used, and which say what another one says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    """An index of one of the host's tables."""

    name: str
    schema: str
    table: str
    method: str
    is_unique: bool
    is_valid: bool
    """False: `CREATE INDEX CONCURRENTLY` failed, or still runs; it costs and serves nobody."""
    is_needed: bool
    """It is a constraint's or the replica identity."""
    is_on_foreign_key: bool
    """Its first column refers to another table: deleting there looks here."""
    key_columns: int
    columns: tuple[str, ...]
    """Key columns, then those only included."""
    options: tuple[str, ...]
    operator_classes: tuple[str, ...]
    collations: tuple[str, ...]
    has_expressions: bool
    is_partial: bool
    predicate: str | None
    """None: it is on all rows, or cannot be read now."""
    size_bytes: int | None
    """None while someone locks the table exclusively."""
    scans: int
    """Number since the statistics were last reset, on this server."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns it is ordered by."""
        return self.columns[: self.key_columns]

    def is_covered_by(self, other: Index) -> bool:
        """Tell whether the other serves whatever this one serves."""
        if self is other or self.table != other.table or {self.method, other.method} != {"btree"}:
            return False
        if self.is_needed or not other.is_valid or self.has_expressions or other.has_expressions:
            return False
        predicates_differ = (self.is_partial, self.predicate) != (other.is_partial, other.predicate)
        if predicates_differ or (self.is_partial and self.predicate is None):
            return False
        if self.is_unique and not (other.is_unique and self.keys == other.keys):
            return False
        return (
            self.ordering(self.key_columns) == other.ordering(self.key_columns)
            and set(self.columns) <= set(other.columns)
            and (self.keys != other.keys or self._gives_way_to(other))
        )

    def ordering(self, count: int) -> tuple[tuple[str, ...], ...]:
        """Tell how the first of its columns order it."""
        return self.keys[:count], self.options[:count], self.operator_classes[:count], self.collations[:count]

    def _gives_way_to(self, other: Index) -> bool:
        """Tell which of two goes that may be the same: never both."""
        if set(self.columns) != set(other.columns):
            return True
        return (other.is_needed, other.is_unique, self.name) > (self.is_needed, self.is_unique, other.name)


@dataclass(frozen=True, slots=True)
class Redundancy:
    """An index that could go, and the one that does its work."""

    index: Index
    covered_by: Index


def redundant(indexes: Sequence[Index]) -> Iterator[Redundancy]:
    """Indexes whose work another one does."""
    for index in indexes:
        covering = next((other for other in indexes if index.is_covered_by(other)), None)
        if covering is not None:
            yield Redundancy(index, covering)


def unused(indexes: Sequence[Index]) -> Iterator[Index]:
    """Indexes without a scan that nothing but queries could need."""
    for index in indexes:
        if index.is_valid and not (index.scans or index.is_unique or index.is_needed or index.is_on_foreign_key):
            yield index
