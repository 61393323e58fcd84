"""The operators' contract: queues, thresholds, delays and alerts as data."""
