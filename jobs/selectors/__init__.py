"""The read door: what API, admin and metrics show. No function here takes a lock or walks all tasks."""
