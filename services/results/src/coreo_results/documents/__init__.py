"""What deploys leave beside their state: documents, stack events, and checkpoints from one worker to the next."""
