"""The package that Ordinaut 2.2.2 imports and does not bring; its parts are in `ordinaut_ext_observability.compat`."""

from ordinaut_ext_observability.compat import load_extension_eagerly

load_extension_eagerly()
