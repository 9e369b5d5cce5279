"""A key-value cache with room to grow: a token more is written behind the others, and nothing else is moved.

transformers' own cache joins old and new at every token, which copies all that is there; where the context is long, that takes
as long as the model. Here the tensors have spare columns, so that what is there is copied once in a while; what attention
reads are views, equal to the last bit. Imports: transformers, `shapes`.
"""

from typing import Any

from transformers.cache_utils import DynamicLayer

from paretokit.shapes import Float, Int, Tensor

__all__ = ["GrowingLayer", "gather", "grow", "is_growing"]

_LEAST = 64  # spare columns, at least; more where the text is long


def grow(cache: Any) -> None:
    """Give room, in place, to the layers of a cache that keep every token; other layers and other caches stay as they are.

    Sliding windows and states of a fixed size do not grow. A cache that was given room before is left as it is. `cache` is a
    cache of transformers, or anything with such caches in `parts`.
    """
    for part in getattr(cache, "parts", ()):
        grow(part)
    layers = getattr(cache, "layers", [])
    for place, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
            layers[place] = GrowingLayer(layer)


def is_growing(cache: Any) -> bool:
    """Return whether every layer of a cache, or of the caches in its `parts`, was given room; then `gather` takes it."""
    parts = getattr(cache, "parts", None)
    if parts is not None:
        return all(is_growing(part) for part in parts)
    layers = getattr(cache, "layers", [])
    return bool(layers) and all(isinstance(layer, GrowingLayer) for layer in layers)


def gather(cache: Any, rows: Int[Tensor, " r"], columns: Int[Tensor, "r c"], *, start: int = 0) -> None:
    """Keep, in place, these rows of a growing cache, in this order, and of each row these columns, in this order.

    With `start` all rows have to be kept as they are, and so are their columns before it: what is not chosen is not copied.
    """
    for part in getattr(cache, "parts", ()):
        gather(part, rows, columns, start=start)
    for layer in getattr(cache, "layers", ()):
        layer.gather(rows, columns, start=start)


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer with room behind them: `keys` and `values` are views of what is used."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        assert layer.keys is not None, "there is something to keep"
        assert layer.values is not None, "there is something to keep"
        self.lazy_initialization(layer.keys, layer.values)
        self._take(layer.keys, layer.values)

    def update(
        self, key_states: Float[Tensor, "R h t d"], value_states: Float[Tensor, "R h t e"], *args: Any, **kwargs: Any
    ) -> tuple[Float[Tensor, "R h T d"], Float[Tensor, "R h T e"]]:
        """Write t more columns and return all keys and values, as views."""
        start, more = self.get_seq_length(), key_states.shape[2]
        if start + more > self._room[0].shape[2]:
            self._take(*self._used(start), more=more)
        for room, fresh in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, start : start + more] = fresh
        self.keys, self.values = found = self._used(start + more)
        return found

    def batch_select_indices(self, indices: Int[Tensor, " r"]) -> None:
        """Keep these rows, in this order."""
        self._take(*(state[indices] for state in self._used(self.get_seq_length())))

    def gather(self, rows: Int[Tensor, " r"], columns: Int[Tensor, "r c"], *, start: int = 0) -> None:
        """Keep these rows, in this order, and of each row these columns, in this order; see the function."""
        chosen = [state.transpose(1, 2)[rows[:, None], columns].transpose(1, 2) for state in self._room]
        if start == 0:
            self._take(*chosen)
            return
        for room, state in zip(self._room, chosen, strict=True):
            room[:, :, start : start + columns.shape[1]] = state
        self.keys, self.values = self._used(start + columns.shape[1])

    def _used(self, columns: int) -> tuple[Tensor, Tensor]:
        keys, values = self._room
        return keys[:, :, :columns], values[:, :, :columns]

    def _take(self, *states: Tensor, more: int = 0) -> None:
        """Copy keys and values to where there is room for more behind them."""
        used = states[0].shape[2]
        columns = used + more + max(_LEAST, used // 2)
        self._room: list[Tensor] = []
        for state in states:
            room = state.new_empty(state.shape[0], state.shape[1], columns, state.shape[3])
            room[:, :, :used] = state
            self._room.append(room)
        self.keys, self.values = self._used(used)
