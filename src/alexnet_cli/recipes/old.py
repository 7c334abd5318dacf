"""Recipes in the checkpoints of older versions, whose [architecture] was a set of switches, as the list of layers they
stood for. Their dropout scaled in training ("inverted"), and is evaluated so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEFAULTS: dict[str, Any] = {
    "classes": 1000,
    "columns": 2,
    "kernels": (48, 128, 192, 192, 128),
    "hidden": 2048,
    "hidden_fc6": 0,
    "conv6": False,
    "conv6_kernels": 128,
    "bottleneck": 0,
    "normalisation": True,
    "overlapping_pooling": True,
    "exchange": True,
    "activation": "relu",
    "order": "paper",
    "dropout": 0.5,
    "norm_k": 2.0,
    "norm_alpha": 1e-4,
    "norm_beta": 0.75,
    "norm_window": 5,
    "map_norm_alpha": 1e-3,
}
_ORDERS = {
    "paper": {"1": ("relu", "norm", "pool"), "2": ("relu", "norm", "pool"), "5": ("relu", "pool")},
    "source-2012": {"1": ("norm", "pool", "relu"), "2": ("relu", "norm", "map_norm", "pool"), "5": ("pool", "relu")},
}
_WINDOWS: dict[str, dict[str, Any]] = {
    "1": {"size": 11, "stride": 4, "overhang": 3, "sees": "picture"},
    "2": {"size": 5, "padding": 2, "sees": "column"},
    "3": {"size": 3, "padding": 1, "sees": "all"},
    "4": {"size": 3, "padding": 1, "sees": "column"},
    "5": {"size": 3, "padding": 1, "sees": "column"},
    "6": {"size": 3, "padding": 1, "sees": "all"},
}


def translated(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's dictionary with [net] in the place of [architecture]. Raises ValueError for an unknown field."""
    was = values["architecture"]
    odd = set(was) - set(_DEFAULTS)
    if odd:
        raise ValueError(f"[architecture] had no field '{sorted(odd)[0]}'")
    rest = {name: value for name, value in values.items() if name != "architecture"}
    return {**rest, "net": _net({**_DEFAULTS, **was})}


def _net(was: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    all_or_own = "all" if was["exchange"] else "column"
    for number in "123456" if was["conv6"] else "12345":
        window = dict(_WINDOWS[number])
        window["sees"] = all_or_own if window["sees"] == "all" else window["sees"]
        kernels = was["conv6_kernels"] if number == "6" else was["kernels"][int(number) - 1]
        tables[f"conv{number}"] = {"kind": "convolution", "kernels": kernels, **window}
        for step in _ORDERS[was["order"]].get(number, ("relu",)):
            if was["normalisation"] or "norm" not in step:
                name, table = _follower(step, number, was)
                tables[name] = table
    for number, neurons in (("6", was["hidden_fc6"] or was["hidden"]), ("7", was["hidden"])):
        tables[f"fc{number}"] = {"kind": "linear", "neurons": neurons, "sees": all_or_own}
        tables[f"{was['activation']}{number}"] = {"kind": was["activation"]}
        if was["dropout"]:
            tables[f"dropout{number}"] = {
                "kind": "dropout",
                "probability": was["dropout"],
                "convention": "inverted",
            }
    if was["bottleneck"]:
        tables["bottleneck"] = {"kind": "linear", "neurons": was["bottleneck"], "sees": all_or_own}
    tables["fc8"] = {"kind": "linear", "neurons": "classes", "sees": "all"}
    return {"columns": was["columns"], "classes": was["classes"], "order": list(tables), **tables}


def _follower(step: str, number: str, was: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and table of a layer without weights behind a convolution."""
    if step == "relu":
        kind = was["activation"]
        return f"conv6_{kind}" if number == "6" else f"{kind}{number}", {"kind": kind}
    if step == "pool":
        return f"pool{number}", {"kind": "pool", "size": 3 if was["overlapping_pooling"] else 2, "stride": 2}
    if step == "map_norm":
        return f"map_norm{number}", {"kind": "map_norm", "alpha": was["map_norm_alpha"]}
    fields = {name: was[f"norm_{name}"] for name in ("k", "alpha", "beta", "window")}
    return f"norm{number}", {"kind": "norm", **fields}
