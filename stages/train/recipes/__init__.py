"""The recipes: one TOML file each, every value with where it comes from."""
