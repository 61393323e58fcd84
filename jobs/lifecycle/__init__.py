"""Pure decisions about a task's life: no clock, no chance, no I/O; all of it comes as arguments."""
