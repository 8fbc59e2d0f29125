"""The measurements, one module per subject; each function takes a run and records its figures in it."""
