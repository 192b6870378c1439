"""Keys that a project proposes in its settings.

    trust:
    - ed25519:KEY allow=files name=alice

It decides what a proposal says.  That it counts is for the user to say, of this very proposal: of its digest.

The invariant: what changes any key of a proposal, or what it may do, or where, changes the digest.
"""

from typing import Final

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import ConfigError
from merkl.trust.entries import Trusted, parse_trusted, written

_DOMAIN: Final = b"merkl proposed keys 1\0"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Keys that a project would have its users trust, in its own namespace."""

    keys: tuple[Trusted, ...]

    @property
    def digest(self) -> str:
        """What the user accepts."""
        return Digest.of(_DOMAIN + written(self.keys).encode()).hex()


def proposal_of(given: object, namespace: str) -> Proposal | None:
    """Read the section ``trust`` of the settings of a project that has that namespace; None if there is none.

    Raises:
        ConfigError: it is no list of keys, or one is meant for another namespace.
    """
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ConfigError(
            "merkl.yaml: trust is a list of keys, each a text",
            hint="trust: ['ed25519:… allow=files name=alice']",
        )
    keys: list[Trusted] = []
    for line in given:
        try:
            key = parse_trusted(line, namespace=namespace)
        except ValueError as error:
            raise ConfigError(f"merkl.yaml: trust: {error}") from None
        if key.namespace != namespace:
            raise ConfigError(
                f"merkl.yaml: trust: a project proposes keys for its own namespace, {namespace}, not {key.namespace}",
                hint="leave out namespace=",
            )
        keys.append(key)
    return Proposal(tuple(keys)) if keys else None
