"""The write door: every change of a task, queue, worker, account or platform is one of these functions."""
