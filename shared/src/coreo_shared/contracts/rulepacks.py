"""Rules of a team's own, as jobs carry them."""

from coreo_shared.contracts.base import Message


class RulePack(Message, frozen=True, kw_only=True):
    """Rules of a team's own, in the version that the plan names."""

    name: str
    version: int
    text: bytes  # the pack's YAML, compressed (catalogue.packs.squeeze); who reads it checks it as if nobody had
