"""What is measured, a module a subject; each takes a run and records into it."""
