"""The names of the files in a folder of results."""

RAW = "raw.jsonl"
SUMMARY = "summary.csv"
RUN = "run.json"
SAMPLES = "samples.jsonl"
LOGS = "logs"

EXPERIMENT = "experiment.json"

CEILINGS = "ceilings.csv"
SCALING = "scaling.csv"
REPORT = "report.html"
LOG_ENTRY = "LOG_ENTRY.md"
FIGURES = "figures"
