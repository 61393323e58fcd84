"""What the counters count; the numbers 1 to 7 are the states themselves."""

PROCESSED = 10
FAILED = 11
SUBMITTED = 12
REFUNDS = 13
REFUNDED_CREDITS = 14
CRASHED = 15
FENCED = 16
