"""What a task is, in the standard library alone: states, transitions, outcomes, errors, ids."""
