"""The checks that come with the package, a file each kind."""
