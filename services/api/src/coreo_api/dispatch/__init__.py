"""What goes on in the background: schedules fire, the outbox is delivered, the results service's feed is followed."""
