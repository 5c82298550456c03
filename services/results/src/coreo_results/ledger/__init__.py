"""The run ledger: who works on a run, how far it is, and how it ended."""
