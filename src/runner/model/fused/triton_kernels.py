"""The kernels in Triton that no library has in this form: norms, activations, rotation, cross-entropy.

What they compute is said in ``elementwise``, which also has the same in plain PyTorch.  Every tensor is a
matrix of rows a token; a row stride lets it be a part of a wider buffer.
"""

import triton
import triton.language as tl


@triton.jit
def norm_forward(
    x,
    x_stride,
    weight,
    bias,
    out,
    out_stride,
    tail_from,
    tail_to,
    width,
    eps,
    LAYER: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """``out`` = norm of ``x``; columns from ``tail_from`` to ``tail_to`` of ``out`` become 1, 0, 0, ..."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    values = tl.load(x + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    if LAYER:
        mean = tl.sum(values, 0) / width
        centred = tl.where(inside, values - mean, 0.0)
    else:
        centred = values
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    gain = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    normed = centred * inverse * gain
    if BIAS:
        normed += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_stride + columns, normed.to(out.dtype.element_ty), mask=inside)
    tail = tail_from + tl.arange(0, 32)
    tl.store(
        out + row * out_stride + tail,
        tl.where(tail == tail_from, 1.0, 0.0).to(out.dtype.element_ty),
        mask=tail < tail_to,
    )


@triton.jit
def norm_backward(
    x,
    x_stride,
    weight,
    bias,
    grad,
    grad_stride,
    residual,
    residual_stride,
    out,
    out_stride,
    width,
    eps,
    LAYER: tl.constexpr,
    BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """``out`` = ``residual`` + gradient of the norm's input; ``grad`` is overwritten by the norm's output."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    values = tl.load(x + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    if LAYER:
        mean = tl.sum(values, 0) / width
        centred = tl.where(inside, values - mean, 0.0)
    else:
        centred = values
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    unit = centred * inverse
    gain = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    normed = unit * gain
    if BIAS:
        normed += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    outer = tl.load(grad + row * grad_stride + columns, mask=inside, other=0.0).to(tl.float32) * gain
    inner = outer - unit * (tl.sum(outer * unit, 0) / width)
    if LAYER:
        inner -= tl.sum(outer, 0) / width
    total = inner * inverse + tl.load(residual + row * residual_stride + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * out_stride + columns, total.to(out.dtype.element_ty), mask=inside)
    tl.store(grad + row * grad_stride + columns, normed.to(grad.dtype.element_ty), mask=inside)


@triton.jit
def _tanh(x):
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def gelu_forward(x, x_stride, out, out_stride, tail_from, tail_to, width, BLOCK: tl.constexpr):
    """``out`` = GELU (tanh form) of ``x``, tail as in ``norm_forward``; one block of columns a program."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    value = tl.load(x + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    inner = 0.7978845608028654 * (value + 0.044715 * value * value * value)
    result = 0.5 * value * (1.0 + _tanh(inner))
    tl.store(out + row * out_stride + columns, result.to(out.dtype.element_ty), mask=inside)
    tail = tail_from + tl.arange(0, 32)
    if tl.program_id(1) == 0:
        ones = tl.where(tail == tail_from, 1.0, 0.0)
        tl.store(out + row * out_stride + tail, ones.to(out.dtype.element_ty), mask=tail < tail_to)


@triton.jit
def gelu_backward(x, x_stride, grad, grad_stride, out, out_stride, width, BLOCK: tl.constexpr):
    """``out`` = gradient of ``x``; ``grad`` is overwritten by the activation's output."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    value = tl.load(x + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    outer = tl.load(grad + row * grad_stride + columns, mask=inside, other=0.0).to(tl.float32)
    bend = _tanh(0.7978845608028654 * (value + 0.044715 * value * value * value))
    slope = 0.7978845608028654 * (1.0 + 3.0 * 0.044715 * value * value)
    derivative = 0.5 * (1.0 + bend) + 0.5 * value * (1.0 - bend * bend) * slope
    tl.store(out + row * out_stride + columns, (outer * derivative).to(out.dtype.element_ty), mask=inside)
    result = 0.5 * value * (1.0 + bend)
    tl.store(grad + row * grad_stride + columns, result.to(grad.dtype.element_ty), mask=inside)


@triton.jit
def swiglu_forward(x, x_stride, out, out_stride, tail_from, tail_to, width, BLOCK: tl.constexpr):
    """``out`` = silu(gate) * up, ``x`` being [gate, up] of ``width`` columns each; tail as in ``norm_forward``."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    gate = tl.load(x + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x + row * x_stride + width + columns, mask=inside, other=0.0).to(tl.float32)
    result = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * out_stride + columns, result.to(out.dtype.element_ty), mask=inside)
    tail = tail_from + tl.arange(0, 32)
    if tl.program_id(1) == 0:
        ones = tl.where(tail == tail_from, 1.0, 0.0)
        tl.store(out + row * out_stride + tail, ones.to(out.dtype.element_ty), mask=tail < tail_to)


@triton.jit
def swiglu_backward(x, x_stride, grad, grad_stride, out, out_stride, width, BLOCK: tl.constexpr):
    """``out`` = gradients of [gate, up]; ``grad`` is overwritten by the activation's output."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    gate = tl.load(x + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x + row * x_stride + width + columns, mask=inside, other=0.0).to(tl.float32)
    outer = tl.load(grad + row * grad_stride + columns, mask=inside, other=0.0).to(tl.float32)
    squash = 1.0 / (1.0 + tl.exp(-gate))
    silu = gate * squash
    gate_grad = outer * up * (squash + silu * (1.0 - squash))
    tl.store(out + row * out_stride + columns, gate_grad.to(out.dtype.element_ty), mask=inside)
    tl.store(out + row * out_stride + width + columns, (outer * silu).to(out.dtype.element_ty), mask=inside)
    tl.store(grad + row * grad_stride + columns, (silu * up).to(grad.dtype.element_ty), mask=inside)


@triton.jit
def rotate(x, x_stride, cosine, sine, table_stride, heads, half, sign, HEADS: tl.constexpr, HALF: tl.constexpr):
    """Rotary embedding of the first ``heads`` heads of a row, in place; ``sign`` -1 turns it back."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    column = tl.arange(0, HALF)
    inside = (head < heads)[:, None] & (column < half)[None, :]
    place = x + row * x_stride + head[:, None] * (2 * half) + column[None, :]
    cos = tl.load(cosine + row * table_stride + column, mask=column < half, other=0.0).to(tl.float32)[None, :]
    sin = tl.load(sine + row * table_stride + column, mask=column < half, other=0.0).to(tl.float32)[None, :] * sign
    first, second = _halves(place, inside, half)
    tl.store(place, (first * cos - second * sin).to(x.dtype.element_ty), mask=inside)
    tl.store(place + half, (second * cos + first * sin).to(x.dtype.element_ty), mask=inside)


@triton.jit
def norm_and_rotate(
    x,
    x_stride,
    out,
    out_stride,
    query_weight,
    key_weight,
    cosine,
    sine,
    table_stride,
    heads,
    turned_heads,
    every_head,
    half,
    eps,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    """``out`` = ``x`` with its query heads and key heads normed and rotated; the value heads are copied."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    column = tl.arange(0, HALF)
    inside = (head < every_head)[:, None] & (column < half)[None, :]
    place = head[:, None] * (2 * half) + column[None, :]
    first, second = _halves(x + row * x_stride + place, inside, half)
    inverse = _over_size(first, second, half, eps)
    is_query, near = (head < heads)[:, None], column < half
    first_gain = _gain(query_weight, key_weight, is_query, column, near)
    second_gain = _gain(query_weight + half, key_weight + half, is_query, column, near)
    cos = _row(cosine + row * table_stride, column, near)
    sin = _row(sine + row * table_stride, column, near)
    normed, other = first * inverse * first_gain, second * inverse * second_gain
    is_turned = (head < turned_heads)[:, None]
    left = tl.where(is_turned, normed * cos - other * sin, first)
    right = tl.where(is_turned, other * cos + normed * sin, second)
    tl.store(out + row * out_stride + place, left.to(out.dtype.element_ty), mask=inside)
    tl.store(out + row * out_stride + place + half, right.to(out.dtype.element_ty), mask=inside)


@triton.jit
def norm_and_rotate_backward(
    x,
    x_stride,
    grad,
    grad_stride,
    query_weight,
    key_weight,
    cosine,
    sine,
    table_stride,
    heads,
    turned_heads,
    half,
    eps,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    """``grad``, of what ``norm_and_rotate`` made of ``x``, becomes the gradient of ``x``, in place."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    column = tl.arange(0, HALF)
    inside = (head < turned_heads)[:, None] & (column < half)[None, :]
    place = head[:, None] * (2 * half) + column[None, :]
    first, second = _halves(x + row * x_stride + place, inside, half)
    inverse = _over_size(first, second, half, eps)
    is_query, near = (head < heads)[:, None], column < half
    first_gain = _gain(query_weight, key_weight, is_query, column, near)
    second_gain = _gain(query_weight + half, key_weight + half, is_query, column, near)
    cos = _row(cosine + row * table_stride, column, near)
    sin = _row(sine + row * table_stride, column, near)
    left, right = _halves(grad + row * grad_stride + place, inside, half)
    first_outer = (left * cos + right * sin) * first_gain
    second_outer = (right * cos - left * sin) * second_gain
    first, second = first * inverse, second * inverse
    mean = ((tl.sum(first_outer * first, 1) + tl.sum(second_outer * second, 1)) / (2 * half))[:, None]
    left, right = (first_outer - first * mean) * inverse, (second_outer - second * mean) * inverse
    tl.store(grad + row * grad_stride + place, left.to(grad.dtype.element_ty), mask=inside)
    tl.store(grad + row * grad_stride + place + half, right.to(grad.dtype.element_ty), mask=inside)


@triton.jit
def _halves(start, inside, half):
    """Both halves of heads, float32 ``(heads, half)`` each."""
    first = tl.load(start, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(start + half, mask=inside, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def _over_size(first, second, half, eps):
    """One over the root of the mean square of each head, ``(heads, 1)``."""
    squares = tl.sum(first * first, 1) + tl.sum(second * second, 1)
    return (1.0 / tl.sqrt(squares / (2 * half) + eps))[:, None]


@triton.jit
def _gain(query_weight, key_weight, is_query, columns, inside):
    """The norm's weight of one half of each head, ``(heads, half)``."""
    return tl.where(is_query, _row(query_weight, columns, inside), _row(key_weight, columns, inside))


@triton.jit
def _row(values, columns, inside):
    """A row of ``values`` as float32 ``(1, columns)``."""
    return tl.load(values + columns, mask=inside, other=0.0).to(tl.float32)[None, :]


@triton.jit
def cross_entropy(
    logits, stride, targets, losses, scale, VOCABULARY: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr
):
    """The loss of a row of ``logits``; with ``GRADIENT`` the logits are overwritten by ``scale`` x their gradient."""
    row = tl.program_id(0).to(tl.int64)
    start = logits + row * stride
    target = tl.load(targets + row)
    picked = tl.load(start + target).to(tl.float32)  # here: behind the reductions a warp may have written over it
    largest = -float("inf")
    total = 0.0
    for offset in range(0, VOCABULARY, BLOCK):
        columns = offset + tl.arange(0, BLOCK)
        values = tl.load(start + columns, mask=columns < VOCABULARY, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(values, 0))
        total = total * tl.exp(largest - larger) + tl.sum(tl.exp(values - larger), 0)
        largest = larger
    normalizer = largest + tl.log(total)
    tl.store(losses + row, normalizer - picked)
    if GRADIENT:
        for offset in range(0, VOCABULARY, BLOCK):
            columns = offset + tl.arange(0, BLOCK)
            inside = columns < VOCABULARY
            values = tl.load(start + columns, mask=inside, other=0.0).to(tl.float32)
            error = tl.exp(values - normalizer) - tl.where(columns == target, 1.0, 0.0)
            tl.store(start + columns, (error * scale).to(logits.dtype.element_ty), mask=inside)
