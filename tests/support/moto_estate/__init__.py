"""A good and a bad resource of many kinds, in moto, and what the rules must say of each."""

from tests.support.moto_estate import accounts, compute, databases, network, storage
from tests.support.moto_estate.base import PLANTS, Expected, Plant

__all__ = ["PLANTS", "Expected", "Plant", "accounts", "compute", "databases", "network", "storage"]
