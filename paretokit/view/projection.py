"""What a set of prompts allows: the upper right boundary of the true front, seen along two objectives.

For prompts x with Pareto sets F(x), the attainable mean scores are the mean of the convex hulls of F(x). Along two axes
its boundary is a chain of edges, those of the single prompts sorted by slope. Imports: torch.
"""

from collections.abc import Sequence
from itertools import pairwise

from paretokit.shapes import Float64, Tensor

Vertex = tuple[float, float]


def boundary(sets: Sequence[Float64[Tensor, "_ m"]], *, x: int, y: int) -> tuple[Vertex, ...]:
    """Return the vertices of the boundary, from the best y to the best x: exact, nothing attainable is beyond.

    It is where the support function h(v) = mean_x max_{f in F(x)} v.f touches, for v >= 0 on the axes x and y: the
    upper right chain of the Minkowski mean of the projected sets. Edges of equal slope are joined.

    >>> import torch
    >>> easy, hard = torch.tensor([[1.0, 1.0]]).double(), torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    >>> boundary([easy, hard], x=0, y=1)
    ((0.5, 1.0), (1.0, 0.5))
    """
    chains = [_chain([(float(row[x]), float(row[y])) for row in points]) for points in sets]
    edges = [(right - left, high - low) for chain in chains for (left, high), (right, low) in pairwise(chain)]
    count = len(sets)
    vertices = [(sum(chain[0][0] for chain in chains) / count, sum(chain[0][1] for chain in chains) / count)]
    slope = None
    for run, fall in sorted(edges, key=lambda edge: edge[1] / edge[0]):
        last = vertices[-1]
        if slope is not None and abs(fall / run - slope) <= 1e-12 * max(1.0, slope):
            vertices.pop()
        vertices.append((last[0] + run / count, last[1] - fall / count))
        slope = fall / run
    return tuple(vertices)


def _chain(points: list[Vertex]) -> list[Vertex]:
    """The vertices of the upper right convex chain, from the highest point to the rightmost."""
    first = max(points, key=lambda point: (point[1], point[0]))
    last = max(points)
    chain: list[Vertex] = []
    for point in sorted({point for point in points if first[0] <= point[0] <= last[0] and point[1] >= last[1]}):
        while len(chain) >= 2 and _turns_left(chain[-2], chain[-1], point):
            chain.pop()
        if chain and chain[-1][0] == point[0]:
            chain.pop()
        chain.append(point)
    return chain


def _turns_left(a: Vertex, b: Vertex, c: Vertex) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0
