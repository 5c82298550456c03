"""The key hierarchy: root key (KMS or a file) over team keys over one data key per run."""
