"""Floor 0: the mathematics, as pure functions of tensors. Nothing here knows models, files, clocks or plots."""
