"""The kernel in Triton that unpacks weights held in double-quantised NF4 into rows of a wider matrix.

Who calls it, and the same in plain PyTorch, is ``nf4``.
"""

import triton
import triton.language as tl

PAIRS = 512  # bytes, of two weights each, that a program unpacks


@triton.jit
def unpack_rows(
    packed,
    scales,
    scale_codes,
    scale_scales,
    offset,
    values,
    out,
    out_stride,
    row_pairs,
    block_pairs,
    scale_block,
    PAIRS: tl.constexpr,
):
    """Row of ``out`` = the 16 ``values`` that the bytes of ``packed`` name, times the scale of their block.

    A block's scale is the entry of ``scale_codes`` that its byte of ``scales`` names, times the scale that
    ``scale_block`` scales share, plus ``offset``.
    """
    row = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * PAIRS
    pairs = first + tl.arange(0, PAIRS)
    inside = pairs < row_pairs
    at = row * row_pairs + pairs
    pair = tl.load(packed + at, mask=inside, other=0).to(tl.int32)
    block = at // block_pairs
    code = tl.load(scales + block, mask=inside, other=0).to(tl.int32)
    shared = tl.load(scale_scales + block // scale_block, mask=inside, other=0.0)
    scale = tl.load(scale_codes + code) * shared + tl.load(offset)
    both = tl.interleave(tl.load(values + (pair >> 4)) * scale, tl.load(values + (pair & 15)) * scale)
    columns = 2 * first + tl.arange(0, 2 * PAIRS)
    tl.store(out + row * out_stride + columns, both.to(out.dtype.element_ty), mask=columns < 2 * row_pairs)
