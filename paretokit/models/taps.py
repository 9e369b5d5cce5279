"""The gradients of all objectives at every trainable weight, during one backward pass.

Each leaf module that holds trainable weights has its output passed through a tap: the identity, whose backward pass sees
the output's gradient and the module's input, contracts them with the slopes of every objective (`maths.contraction`) and
keeps neither. What it makes is handed to autograd as the gradient of a placeholder [m, *shape], so that weights which are
used several times, tied ones among them, add up by themselves, and checkpointed layers work, whose inputs come from the
second forward pass. Whether all uses of all weights are seen is not looked up but measured once for a model (`probe`).
Imports: torch, peft and transformers (their layers), `maths.contraction`, `branches`, `compute`, `projection`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from paretokit.maths.contraction import Layout, Slopes, contract, contract_embedding, contract_vectors, layout, slopes_at
from paretokit.maths.heads import vocabulary_blocks
from paretokit.models import branches
from paretokit.models.compute import out_of_memory
from paretokit.models.projection import Scorer, backbone
from paretokit.rows import Rows, shared_rows
from paretokit.shapes import Float, Tensor

__all__ = ["Coverage", "Own", "Places", "Taps", "places", "probe", "tapped"]

_NOISE = 0.05  # of a weight's largest gradient: what bfloat16 may round; a use that was missed is of another size


class Coverage(NamedTuple):
    """Whether one backward pass gives the gradients of every objective at every trainable weight."""

    exact: bool
    reason: str  # which weights it misses, or why it cannot be done; "" where all are covered
    axes: Mapping[str, int]  # by module: the axis of its input along which the positions of a row lie


class Own(NamedTuple):
    """A scorer whose weights belong to one objective: they are heard for that objective alone."""

    scorer: Scorer
    objective: int
    scored: Layout | None  # of the positions that go through it, with the labels of its objective; None where there are none


class Taps:
    """What is heard of m objectives at the trainable weights while they are `tapped`."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        *,
        read: Layout | Sequence[Layout],
        scored: Layout,
        count: int,
        axes: Mapping[str, int],
        own: Sequence[Own] = (),
    ) -> None:
        self.axes = axes
        alone = [(each.scorer, each.scored, slice(each.objective, each.objective + 1)) for each in own]
        reads = [read] if isinstance(read, Layout) else list(read)
        self._layouts = {f"read {part}": (made, slice(None)) for part, made in enumerate(reads)}
        self._layouts["scored"] = (scored, slice(None))
        self._parts, self._entered = len(reads), 0
        self._layouts |= {_key(scorer): (made, place) for scorer, made, place in alone if made is not None}
        self._slopes: dict[str, Slopes] = {}
        single = {id(weight) for scorer, _, _ in alone for weight in scorer.own.values()}
        sizes = [1 if id(weight) in single else count for weight in parameters]
        self._slots = {
            id(weight): weight.detach().new_zeros(()).expand(size, *weight.shape).requires_grad_()
            for weight, size in zip(parameters, sizes, strict=True)
        }

    def rows(self, total: Float[Tensor, ""], slopes: Float[Tensor, "m P"], *, scales: Sequence[float]) -> tuple[Tensor, ...]:
        """Return one [m, *shape] per weight from the sum of all margins, [1, *shape] for one that belongs to one objective;
        `slopes` and `scales` as `slopes_at` has them."""
        self._slopes = {
            name: slopes_at(made, slopes[place], scales=scales[place]) for name, (made, place) in self._layouts.items()
        }
        slots = list(self._slots.values())
        found = torch.autograd.grad(total, slots, allow_unused=True)
        return tuple(slot.detach().contiguous() if row is None else row for row, slot in zip(found, slots, strict=True))

    def slots(self, module: torch.nn.Module) -> dict[str, Tensor]:
        """Return the placeholders of the trainable weights that belong to the module itself, by their names in it."""
        own = module.own if isinstance(module, Scorer) else module._parameters
        if not own:
            return {}
        return {name: self._slots[id(weight)] for name, weight in own.items() if id(weight) in self._slots}

    def place(self, module: torch.nn.Module, *, scored: bool) -> str:
        """Return the name of the layout of a module's positions; `scored`: it sees the scored ones alone."""
        return _key(module) if _key(module) in self._layouts else "scored" if scored else self.reading()

    def enter(self) -> None:
        """Be told that the backbone is called: the rows of a pass may be read in several parts, one after another."""
        self._entered += 1

    def reading(self) -> str:
        """Return the name of the layout of what the backbone reads now."""
        return f"read {max(self._entered - 1, 0) % self._parts}"

    def at(self, name: str) -> tuple[Layout, Slopes]:
        """Return the layout of that name, and the slopes at its positions."""
        return self._layouts[name][0], self._slopes[name]


def _key(module: torch.nn.Module) -> str:
    return f"own {id(module)}"


class Places(NamedTuple):
    """Where the weights of a model are trained; to be found once, since going through a model's modules takes a while."""

    modules: tuple[tuple[str, torch.nn.Module], ...]  # that hold trainable weights themselves, by name; LoRA's factors apart
    layers: tuple[Any, ...]  # peft's LoRA layers; not those on stacked matrices, which are run as peft runs them


def places(model: torch.nn.Module) -> Places:
    """Return where the weights of a model are trained."""
    named = list(model.named_modules())
    layers = tuple(module for _, module in named if isinstance(module, LoraLayer) and not isinstance(module, ParamWrapper))
    factors = {factor for layer in layers for factor in branches.factors(layer)}
    modules = tuple(
        (name, module)
        for name, module in named
        if module not in factors and any(weight.requires_grad for weight in module.parameters(recurse=False))
    )
    return Places(modules, layers)


@contextmanager
def tapped(model: Any, at: Places, scorers: Sequence[Scorer], taps: Taps) -> Iterator[None]:
    """Tap every module that holds trainable weights; has to last until the backward pass is done.

    `scorers` make log-probabilities of hidden states; none where the model's own output projection does. The factors of LoRA
    are heard together, see `branches`.
    """
    heads = (model.get_output_embeddings(), *scorers)  # what sees the scored positions alone
    quiet = [False]  # while a rule calls a module once more

    def tap(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any, *, name: str) -> Any:
        if quiet[0] or not torch.is_grad_enabled():
            return output
        slots, tensors = taps.slots(module), [part for part in inputs if isinstance(part, torch.Tensor)]
        if not isinstance(module, Scorer) and not (tensors and isinstance(output, torch.Tensor)):
            raise _UnheardError(f"{name} ({type(module).__name__}) does not map one tensor to another")
        place = taps.place(module, scored=module in heads)
        rule = partial(_rows, module, taps, slots, quiet, place, taps.axes.get(name, 1))
        if isinstance(module, Scorer):
            logps, normaliser = output
            return _Tap.apply(logps, rule, 3, *tensors, normaliser, *slots.values()), normaliser
        return _Tap.apply(output, rule, len(tensors), *tensors, *slots.values())

    heard = branches.Heard(lambda factor: taps.slots(factor)["weight"], lambda: partial(taps.at, taps.reading()))
    with ExitStack() as stack:
        stack.callback(backbone(model).register_forward_pre_hook(lambda *_: taps.enter()).remove)
        stack.enter_context(branches.in_one_piece(at.layers, heard=heard))
        for name, module in (*at.modules, *(("", scorer) for scorer in scorers)):
            if taps.slots(module):
                stack.callback(module.register_forward_hook(partial(tap, name=name)).remove)
        for scorer in scorers:
            scorer.heard = bool(taps.slots(scorer))
            stack.callback(setattr, scorer, "heard", False)
        yield


class _UnheardError(TypeError):
    """A module holds trainable weights, but is not a map from a tensor to a tensor."""


class _Tap(torch.autograd.Function):
    """The identity; its backward pass also returns what a rule makes of the gradient and the saved inputs."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, rule: Callable[..., list[Tensor]], saved: int, *tensors: Tensor) -> Tensor:
        ctx.rule = rule
        ctx.save_for_backward(*tensors[:saved])
        return branches.unviewed(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        return gradients[0], None, None, *(None for _ in saved), *ctx.rule(gradients[0], *saved)


def _rows(
    module: torch.nn.Module,
    taps: Taps,
    slots: dict[str, Tensor],
    quiet: list[bool],
    place: str,
    axis: int,
    gradient: Tensor,
    *inputs: Tensor,
) -> list[Tensor]:
    """What a tap does: from the output's gradient and the inputs to a row for each slot of the module."""
    made, slopes = taps.at(place)
    rule = _RULES.get(type(module))
    quiet[0] = True
    try:
        if rule is None:
            found = _any_module(module, gradient, inputs, slopes, slots, axis=axis)
        else:
            found = rule(module, gradient, inputs, made, slopes, slots)
    finally:
        quiet[0] = False
    return [found[name] for name in slots]


def _linear(
    module: Any, gradient: Tensor, inputs: tuple[Tensor, ...], made: Layout, slopes: Slopes, slots: dict[str, Tensor]
) -> dict[str, Tensor]:
    dtype = next(iter(slots.values())).dtype
    flat, read = gradient.flatten(0, -2).to(dtype), inputs[0].flatten(0, -2).to(dtype)
    found = {}
    if "weight" in slots:
        rows = contract(flat, read, made, slopes)
        found["weight"] = rows.transpose(1, 2) if isinstance(module, Conv1D) else rows
    if "bias" in slots:
        found["bias"] = contract_vectors(flat, slopes)
    return found


def _embedding(
    module: Any, gradient: Tensor, inputs: tuple[Tensor, ...], made: Layout, slopes: Slopes, slots: dict[str, Tensor]
) -> dict[str, Tensor]:
    flat = gradient.flatten(0, -2).to(slots["weight"].dtype)
    ids = inputs[0].expand(gradient.shape[:-1]).flatten()
    rows, ignored = module.num_embeddings, module.padding_idx
    return {"weight": contract_embedding(flat, ids, slopes, rows=rows, ignored=ignored)}


def _layer_norm(
    module: Any, gradient: Tensor, inputs: tuple[Tensor, ...], made: Layout, slopes: Slopes, slots: dict[str, Tensor]
) -> dict[str, Tensor]:
    scaled = torch.nn.functional.layer_norm(inputs[0], module.normalized_shape, eps=module.eps)
    parts = {"weight": gradient * scaled, "bias": gradient}
    return {name: contract_vectors(parts[name].flatten(0, -2).to(slot.dtype), slopes) for name, slot in slots.items()}


def _scorer(
    module: Scorer, gradient: Tensor, inputs: tuple[Tensor, ...], made: Layout, slopes: Slopes, slots: dict[str, Tensor]
) -> dict[str, Tensor]:
    hidden, targets, normaliser = inputs
    head, dtype = module.head(hidden), next(iter(slots.values())).dtype
    found = {name: slot.new_empty(slot.shape) for name, slot in slots.items()}
    read, thin, through = hidden.to(dtype), None, None
    if head.up is not None and head.down is not None:
        thin = read @ head.down.to(dtype).T
        through = thin.new_zeros(thin.shape)
    for block, part in vocabulary_blocks(hidden.to(head.weight.dtype), head, targets, normaliser):
        part = part.mul_(gradient[:, None]).to(dtype)
        if "weight" in slots:
            found["weight"][:, block] = contract(part, read, made, slopes)
        if "bias" in slots:
            found["bias"][:, block] = contract_vectors(part, slopes)
        if "A" in slots and thin is not None:
            found["A"][:, block] = contract(part, thin, made, slopes)
        if "B" in slots and head.up is not None and through is not None:
            through.addmm_(part, head.up[block].to(dtype))
    if "B" in slots and through is not None:
        found["B"] = contract(through, read, made, slopes)
    return found


def _any_module(
    module: Any, gradient: Tensor, inputs: tuple[Tensor, ...], slopes: Slopes, slots: dict[str, Tensor], *, axis: int
) -> dict[str, Tensor]:
    """A norm or another module without a rule: autograd inside the module alone, on what it was given.

    Weights that are multiplied along the last axis are spread over all positions first, so that one pass is enough; where
    the module does not take them so, a pass per objective.
    """
    given, own = inputs[0], {name: dict(module.named_parameters())[name].detach() for name in slots}
    if all(weight.shape == given.shape[-1:] for weight in own.values()):
        try:
            parts = _local(module, {name: weight.expand(given.shape) for name, weight in own.items()}, inputs, gradient)
        except RuntimeError as error:  # it wants weights of their own shape
            if out_of_memory(error):
                raise
            parts = None
        if parts is not None:
            flat = {name: part.movedim(axis, 1).flatten(0, 1) for name, part in parts.items()}
            summed = {
                name: part if part.ndim == 2 else part.flatten(1, -2).sum(dim=1) for name, part in flat.items()
            }  # of heads
            return {name: contract_vectors(part.to(slots[name].dtype), slopes) for name, part in summed.items()}
    shape = [1] * gradient.ndim
    shape[0], shape[axis] = gradient.shape[0], gradient.shape[axis]
    each = [_local(module, own, inputs, weight.view(shape) * gradient) for weight in slopes.by_position.to(gradient.dtype)]
    return {name: torch.stack([parts[name] for parts in each]) for name in slots}


def _local(module: Any, weights: dict[str, Tensor], inputs: tuple[Tensor, ...], gradient: Tensor) -> dict[str, Tensor]:
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad():
        output = functional_call(module, leaves, inputs)
        found = torch.autograd.grad(output, list(leaves.values()), gradient.to(output.dtype))
    return dict(zip(leaves, found, strict=True))


_RULES: dict[type, Callable[..., dict[str, Tensor]]] = {
    torch.nn.Linear: _linear,
    Conv1D: _linear,
    torch.nn.Embedding: _embedding,
    torch.nn.LayerNorm: _layer_norm,
    Scorer: _scorer,
}


def probe(
    model: torch.nn.Module,
    parameters: Mapping[str, Tensor],
    scores: Callable[[Rows], Float[Tensor, " N"]],
    taps_on: Callable[[Taps], AbstractContextManager[None]],
    plainly: AbstractContextManager[None],
    *,
    config: Any,
    device: torch.device,
) -> Coverage:
    """Return whether one backward pass sees every use of the trainable weights, measured on two short pairs.

    `scores` gives log-probabilities of rows, `taps_on` the context in which they are tapped, `plainly` the one in which they
    are not but in half precision round alike, `config` is that of the text model. The rows of two objectives must be those of
    two ordinary backward passes.
    """
    sizes = {value for value in config.to_dict().values() if isinstance(value, int)}
    width = next(width for width in range(13, 999) if width not in sizes)  # an axis of this length is that of the positions
    ids = torch.randint(0, config.vocab_size, (2, width), generator=torch.Generator().manual_seed(1)).tolist()
    rows = shared_rows([part[:3] for part in ids], [part[3:8] for part in ids], [part[8:] for part in ids])
    axes = _axes(model, width, lambda: scores(rows))
    labels = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    owner = rows.sequence % 2
    read, scored = (on_device(layout(part, labels), device) for part in (rows.owner, owner))
    signs = torch.where(rows.sequence < 2, 1.0, -1.0).to(device)
    slopes = torch.tensor([[0.5, 0.25], [0.5, -1.0]], device=device)  # powers of two, by which half precision rounds nothing
    weights = list(parameters.values())
    taps = Taps(weights, read=read, scored=scored, count=2, axes=axes)
    with torch.enable_grad():
        try:
            with taps_on(taps):
                total = (scores(rows) * signs).sum()
                found = taps.rows(total, slopes.to(total.dtype), scales=[1.0, 1.0])
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:  # a rule that does not fit its module
            if out_of_memory(error):  # which says nothing of the model
                raise
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Coverage(False, f"some weights cannot be heard in their modules ({line[:120]})", axes)
        with plainly:
            logps = scores(rows)
            expected = [
                torch.autograd.grad(
                    (logps * signs * row[owner].to(signs)).sum(), weights, retain_graph=index == 0, allow_unused=True
                )
                for index, row in enumerate(slopes)
            ]
    missed = [
        name
        for name, ours, *plain in zip(parameters, found, *expected, strict=True)
        if not all(_near(row, part) for row, part in zip(ours, plain, strict=True))
    ]
    if missed:
        listed = f"{', '.join(missed[:3])}{', ...' if len(missed) > 3 else ''}"
        return Coverage(False, f"{len(missed)} of {len(parameters)} weights are used outside of their modules ({listed})", axes)
    return Coverage(True, "", axes)


def _axes(model: torch.nn.Module, width: int, read: Callable[[], object]) -> dict[str, int]:
    """The axis of length `width` of each module's input, while `read` runs the model; axis 1 is left out, as usual."""
    axes: dict[str, int] = {}

    def look(module: torch.nn.Module, inputs: tuple[Any, ...], *, name: str) -> None:
        shape = inputs[0].shape if inputs and isinstance(inputs[0], torch.Tensor) else ()
        found = [axis for axis, size in enumerate(shape) if size == width]
        if len(found) == 1 and found != [1]:
            axes[name] = found[0]

    leaves = [(name, part) for name, part in model.named_modules() if not list(part.children())]
    hooks = [part.register_forward_pre_hook(partial(look, name=name)) for name, part in leaves]
    try:
        with torch.no_grad():
            read()
    finally:
        for hook in hooks:
            hook.remove()
    return axes


def on_device(made: Layout, device: torch.device) -> Layout:
    """Return a layout whose tensors are on a device."""
    moved = {
        name: part.to(device, non_blocking=True) for name, part in made._asdict().items() if isinstance(part, torch.Tensor)
    }
    return made._replace(**moved)


def _near(found: Tensor, expected: Tensor | None) -> bool:
    largest = 0.0 if expected is None else float(expected.abs().max())
    difference = found if expected is None else found - expected
    return bool(difference.abs().max() <= _NOISE * largest)
