"""A worker process: fetch, claim, run, settle - four stages, each working on batches."""
