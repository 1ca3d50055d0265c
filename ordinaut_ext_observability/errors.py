"""The errors this package raises, one class per decision a caller can take."""


class ObservabilityError(Exception):
    """The observability extension could not do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or type(self).__doc__)


class MetricDefinitionError(ObservabilityError):
    """A metric is defined or used against the rules of its type."""


class AddressInUseError(ObservabilityError):
    """The requested address and port cannot be listened on."""


class ServedByAnotherWorkerError(AddressInUseError):
    """Another worker process of this service serves this port, or has said why it cannot be served."""
