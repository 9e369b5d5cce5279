"""A key-value cache with room to grow: a token more is written behind the others, and nothing else is moved.

transformers' own cache joins old and new at every token, which copies all that is there; where the context is long, that takes
as long as the model. Here the tensors have spare columns, so that what is there is copied once in a while; what attention
reads are views, equal to the last bit. Imports: transformers, `shapes`.
"""

from typing import Any

from transformers.cache_utils import DynamicLayer

from paretokit.shapes import Float, Int, Tensor

__all__ = ["GrowingLayer", "grow"]

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
        self._take(*self._used(self.get_seq_length()), rows=indices)

    def _used(self, columns: int) -> tuple[Tensor, Tensor]:
        keys, values = self._room
        return keys[:, :, :columns], values[:, :, :columns]

    def _take(self, *states: Tensor, rows: Int[Tensor, " r"] | None = None, more: int = 0) -> None:
        """Copy keys and values, or some of their rows, to where there is room for more behind them."""
        used = states[0].shape[2]
        columns = used + more + max(_LEAST, used // 2)
        self._room: list[Tensor] = []
        for state in states:
            count = state.shape[0] if rows is None else len(rows)
            room = state.new_empty(count, state.shape[1], columns, state.shape[3])
            room[:, :, :used] = state if rows is None else state[rows]
            self._room.append(room)
        self.keys, self.values = self._used(used)
