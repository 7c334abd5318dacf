"""The result of `alexnet preprocess`, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.crops.shards import name_shards
from alexnet_cli.console import duration, size
from alexnet_stages.preprocess.official import official_text
from alexnet_stages.preprocess.rejects import REJECTS_FILE
from alexnet_stages.preprocess.report import (
    TEXT_FILE,
    class_sizes_text,
    defective_text,
    duplicates_text,
    elsewhere_text,
    facts_text,
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command made of one source: a store, or a shard of one."""

    store: Path
    """The store's folder; with --shard that shard's."""
    pictures: int
    """Crops in the store."""
    classes: int
    facts: Mapping[str, int]
    """How many pictures are greyscale, cmyk, converted, rotated, small, wrong_extension, animated."""
    ignored: Mapping[str, int]
    """Other files, by extension."""
    rejected: int
    bytes: int
    """Size of the store on disk."""
    continued: int
    """Pictures that an earlier command had done before it was stopped."""
    seconds: float
    pictures_per_second: float
    """Without those that were done before."""
    pillow: str
    digest: str
    report: Mapping[str, Any]
    """The summary of the store's report."""
    up_to_date: bool = False
    """Nothing was done: the existing store is of these pictures and options (--update)."""
    shards: Mapping[str, Any] = field(default_factory=dict)
    """With --shard: `shard`, `missing` (shards of the whole store), and if none is missing, `whole` (the summary of
    its report) and `digest`."""
    held_out: Result | None = None
    """With --holdout: the second store's."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "store": str(self.store),
            "pictures": self.pictures,
            "classes": self.classes,
            "rejected": self.rejected,
            "seconds": round(self.seconds, 3),
            **self.facts,
            "ignored": sum(self.ignored.values()),
            "bytes": self.bytes,
            "continued": self.continued,
            "pictures_per_second": round(self.pictures_per_second, 1),
            "pillow": self.pillow,
            "digest": self.digest,
            "report": self.report,
            **({"up_to_date": True} if self.up_to_date else {}),
            **({"shards": self.shards} if self.shards else {}),
            **({"held_out": self.held_out.as_json()} if self.held_out else {}),
        }

    def as_facts(self) -> dict[str, str]:
        """For people: only what is noteworthy."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(self.ignored).most_common(4))
        facts = {"pictures": f"{self.pictures:,}", **self._about(self.report)}
        if self.rejected:
            facts["rejected"] = f"{self.rejected:,} (see {self.store / REJECTS_FILE})"
        if self.ignored:
            facts["other files"] = f"{sum(self.ignored.values()):,} ({kinds})"
        facts["size"] = size(self.bytes)
        time_taken = f"{duration(self.seconds)}, {self.pictures_per_second:,.0f} pictures/s with {self.pillow}" + (
            f"; {self.continued:,} were done before" if self.continued else ""
        )
        facts["time"] = "none: up to date" if self.up_to_date else time_taken
        facts["report"] = str(self.store / TEXT_FILE)
        return facts | self._about_shards()

    def _about(self, summary: Mapping[str, Any]) -> dict[str, str]:
        facts = {"classes": f"{self.classes:,}"}
        if "classes" in summary:
            facts["classes"] += f", {class_sizes_text(summary['classes'])}"
        if "official" in summary:
            facts["official"] = official_text(summary["official"])
        if "known_defective" in summary:
            facts["known defective"] = defective_text(summary["known_defective"])
        if noteworthy := facts_text(summary["facts"]):
            facts["noteworthy"] = noteworthy
        if summary.get("duplicates", {}).get("groups"):
            facts["duplicates"] = duplicates_text(dict(summary))
        if summary.get("elsewhere"):
            facts["elsewhere"] = "; ".join(elsewhere_text(found) for found in summary["elsewhere"])
        return facts

    def _about_shards(self) -> dict[str, str]:
        if not self.shards:
            return {}
        missing = self.shards["missing"]
        if missing:
            return {"shard": f"{self.shards['shard']}; missing still: {name_shards(missing)}"}
        whole = self.shards.get("whole")
        if whole is None:
            return {"shard": f"{self.shards['shard']}; it does not belong to the others"}
        folder = self.store.parent
        about = {f"all {key}": value for key, value in self._about(whole).items()}
        return {
            "shard": f"{self.shards['shard']}, and all others are there",
            "all pictures": f"{whole['pictures']:,}",
            **about,
            "all report": str(folder / TEXT_FILE),
        }
