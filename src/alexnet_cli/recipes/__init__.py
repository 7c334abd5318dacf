"""Recipes: net, input and training under one name, written in TOML. This room knows no torch.

| file        | holds                                                                                |
|-------------|--------------------------------------------------------------------------------------|
| `*.toml`    | the built-in recipes; start with `paper.toml`                                        |
| `layers.py` | the kinds of layer, each with its own few numbers                                    |
| `net.py`    | the net: its layers in order, and the shapes that follow                             |
| `recipe.py` | input, training, and the recipe as a whole                                           |
| `read.py`   | TOML files that extend one another, `--set`, and where each value comes from         |
| `fields.py` | tables to dataclasses; what is said of a wrong field                                 |
| `old.py`    | recipes in checkpoints written before nets were lists of layers                      |

Use it so:

    recipe = load_recipe("paper", sets=["net.pool1.size=2"])     # or load_recipe("my/own.toml")
    loaded = load("paper")                                        # .recipe, and .places: where each value is from
    for layer in shapes(recipe.net): ...                          # every layer with its shapes
"""
