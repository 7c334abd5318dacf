"""The ensemble folder's kind and files; README.md in this folder lists what is in them."""

from __future__ import annotations

KIND = "ensemble"
SCHEMA = 2
SCORES = "scores.h5"
MEMBERS = "members"
HOLDOUT = "holdout"
FIT = "fit.json"
MEMBERS_FILE = "members.json"
MEMBERS_DIGEST = "members_digest"
"""In the details: SHA-256 of members.json, from which `predict` takes nets and weights."""
TABLE = "table.txt"
