"""What goes wrong with a remote and with nothing else."""

from merkl.errors import StoreError


class RemoteError(StoreError):
    """The remote cannot be reached or used; what is here still can."""
