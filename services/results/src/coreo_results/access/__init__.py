"""The access record: who read, exported or deleted results, or decided about them. Only ever added to, and chained."""
