"""The life of findings: each run is compared, once it has ended, with what was known before."""
