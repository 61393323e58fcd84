"""`make bench`: what Task Center does per second, beside its peers in the same run."""
