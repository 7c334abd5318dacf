"""Commands that are not pipeline stages: sample, summary, doctor."""
