"""Commands that are no pipeline stage: sample, summary, doctor."""
