"""The families that `prometheus_client` would be given for ours: a second way to their samples, apart from our rendering."""

from __future__ import annotations

from itertools import accumulate

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar as ClientExemplar
from prometheus_client.utils import floatToGoString

from ordinaut_ext_observability.metrics.exposition import describe
from ordinaut_ext_observability.metrics.family import Histogram


class ClientModel:
    """A registry of ours as a collector of `prometheus_client`."""

    def __init__(self, registry):
        self._registry = registry

    def describe(self):
        return self._registry.describe()

    def collect(self):
        self._registry.refresh()
        return [samples_of(family) for family in self._registry.families()]


def samples_of(family):
    metric = describe(family)
    for child in family.children():
        labels = dict(zip(family.label_names, child.label_values, strict=True))
        if isinstance(family, Histogram):
            _add_histogram_samples(metric, child, labels, family)
        else:
            metric.add_sample(family.name, labels, child.value)
    return metric


def _add_histogram_samples(metric: Metric, child, labels, family):
    exemplars = child.exemplars or [None] * len(child.counts)
    cumulative = list(accumulate(child.counts))
    for bound, count, exemplar in zip(
        [floatToGoString(bound) for bound in (*family.bounds, float("inf"))], cumulative, exemplars, strict=True
    ):
        client_exemplar = exemplar and ClientExemplar(
            {"trace_id": exemplar.trace_id}, exemplar.value, exemplar.timestamp_seconds
        )
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count, exemplar=client_exemplar)
    metric.add_sample(f"{family.name}_count", labels, cumulative[-1])
    metric.add_sample(f"{family.name}_sum", labels, child.sum)
