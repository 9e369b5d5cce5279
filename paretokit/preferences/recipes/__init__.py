"""Recipes: how public data sets are read, one named recipe each; `registry` lists them, `recipe` says what one is."""
