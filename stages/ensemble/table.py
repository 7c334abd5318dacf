"""The table of an ensemble's errors, in the form of the paper's table 2."""

from __future__ import annotations

from alexnet_cli.artifacts.scores import Scores
from alexnet_cli.console import percent, printable
from alexnet_stages.ensemble.fit import Fit
from alexnet_stages.ensemble.members import Member

_ERRORS = ("centre_top1", "centre_top5", "top1", "top5")


def table_of(members: list[Member], average: Scores, equal: Scores | None, fit: Fit | None) -> str:
    """In the form of the paper's table 2: a line for each net, then the average (with fitted weights: both)."""
    averaged = {member.manifest.details.get("views_averaged", 10) for member in members}
    views = f"{averaged.pop()} views" if len(averaged) == 1 else "all views"
    heads = ("Model", "Top-1, 1 view", "Top-5, 1 view", f"Top-1, {views}", f"Top-5, {views}")
    count = f"{len(members)} CNN{'s' if len(members) != 1 else ''}"
    averages = [(f"{count}, averaged", average)]
    if equal is not None:
        averages = [(f"{count}, equal weights", equal), (f"{count}, fitted weights", average)]
    named = [(f"1 CNN ({printable(member.name)})", member.scores) for member in members] + averages
    rows: list[tuple[str, ...]] = [heads]
    for name, scores in named:
        errors = scores.errors()
        rows.append((name, *(percent(errors[f"{which}_error"]) for which in _ERRORS)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [f"Error rates on {len(average.names):,} pictures of {len(average.classes):,} classes", ""]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
        if number in (0, len(members)):
            lines.append("─" * (sum(widths) + 2 * (len(widths) - 1)))
    if fit is not None:
        weights = ", ".join(f"{member.name} {member.weight:.3f}" for member in members)
        before, after = percent(fit.equal[1]), percent(fit.fitted[1])
        lines += [
            "",
            f"Weights: {weights}",
            f"Fitted on {fit.pictures:,} held-out pictures, none of the above: top-5 error {before} with equal "
            f"weights, {after} with these (standard error of the difference {percent(fit.standard_error)})",
        ]
    return "\n".join(lines) + "\n"
