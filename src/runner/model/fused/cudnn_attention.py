"""Packed attention by cuDNN, called through its Python front end where that is installed.

A plan is built for each number of documents, rounded up to a power of two, and kept; documents that are not
there have no tokens.  Layouts with offsets a document ("ragged") and fewer key heads than query heads are cuDNN's own.
The backward pass is the repeatable one, always: with cuDNN 9.19 the other gave wrong gradients of the queries for
these layouts (off by half their norm, measured on an H200), and it is a tenth slower at most where documents are long.
"""

import functools
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from runner.model.fused.attention import Documents

LEAST_CAPABILITY = (9, 0)  # Hopper: on older cards the flash kernel is as fast


@functools.cache
def present(device: int) -> bool:
    """Whether cuDNN's front end is installed and ``device`` is a card that it is the fastest on."""
    return (
        importlib.util.find_spec("cudnn") is not None and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
    )


def usable(query: Tensor, window: int | None) -> bool:
    """Whether this attention goes through cuDNN: 16 bits, heads of at most 128, no window shorter than documents."""
    fits = query.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] <= 128 and query.shape[-1] % 8 == 0
    return window is None and fits and present(query.device.index)


def forward(qkv: Tensor, out: Tensor, documents: "Documents", heads: int, key_heads: int, scaling: float) -> Tensor:
    """As ``attention_forward``; returns the log-sum-exp, float32 ``(rows, heads)``."""
    plan = _plan("forward", qkv, out, qkv, documents, heads, key_heads, scaling)
    normalizers = torch.empty(len(qkv), heads, dtype=torch.float32, device=qkv.device)
    query, key, value = _parts(qkv, heads, key_heads)
    plan.run(documents, {"q": query, "k": key, "v": value, "o": out, "stats": normalizers})
    return normalizers


def backward(
    qkv: Tensor,
    out: Tensor,
    normalizers: Tensor,
    grad: Tensor,
    qkv_grad: Tensor,
    documents: "Documents",
    heads: int,
    key_heads: int,
    scaling: float,
) -> None:
    """As ``attention_backward``; ``grad`` has rows of the same stride as its width."""
    plan = _plan("backward", qkv, out, qkv_grad, documents, heads, key_heads, scaling)
    query, key, value = _parts(qkv, heads, key_heads)
    query_grad, key_grad, value_grad = _parts(qkv_grad, heads, key_heads)
    plan.run(
        documents,
        {"q": query, "k": key, "v": value, "o": out, "stats": normalizers, "do": grad}
        | {"dq": query_grad, "dk": key_grad, "dv": value_grad},
    )


def _parts(qkv: Tensor, heads: int, key_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    width = qkv.shape[1] // (heads + 2 * key_heads)
    keys, values = heads * width, (heads + key_heads) * width
    return qkv[:, :keys], qkv[:, keys:values], qkv[:, values:]


def _plan(
    direction: str,
    qkv: Tensor,
    out: Tensor,
    qkv_grad: Tensor,
    documents: "Documents",
    heads: int,
    key_heads: int,
    scaling: float,
) -> "_Plan":
    return _built(
        direction,
        documents=_bucket(len(documents.lengths)),
        tokens=len(qkv),
        longest=documents.longest,
        heads=heads,
        key_heads=key_heads,
        width=qkv.shape[1] // (heads + 2 * key_heads),
        strides=(qkv.stride(0), out.stride(0), qkv_grad.stride(0)),
        dtype=qkv.dtype,
        device=qkv.device.index,
        scaling=scaling,
    )


def _bucket(documents: int) -> int:
    return 1 << max(0, documents - 1).bit_length()


@functools.cache
def _handle(device: int) -> Any:
    import cudnn

    with torch.cuda.device(device):
        return cudnn.create_handle()


@dataclass(frozen=True)
class _Plan:
    """A built cuDNN graph: its tensors by name, and the row strides that offsets are multiples of."""

    graph: Any
    tensors: dict[str, Any]
    strides: dict[str, int]
    documents: int
    device: int
    workspace: int

    def run(self, documents: "Documents", pointers: dict[str, Tensor]) -> None:
        """Execute on the current stream."""
        import cudnn

        handle = _handle(self.device)
        cudnn.set_stream(handle=handle, stream=torch.cuda.current_stream(self.device).cuda_stream)
        values = {self.tensors[name]: tensor.data_ptr() for name, tensor in pointers.items()}
        values[self.tensors["lengths"]] = _lengths(documents, self.documents).data_ptr()
        for name, stride in self.strides.items():
            values[self.tensors[name]] = _offsets(documents, self.documents, stride).data_ptr()
        workspace = torch.empty(self.workspace, dtype=torch.uint8, device=documents.borders.device)
        self.graph.execute(values, workspace.data_ptr(), handle=handle)


def _lengths(documents: "Documents", count: int) -> Tensor:
    """Tokens of each of ``count`` documents, those not there having none; computed once a batch."""
    key = ("lengths", count)
    if key not in documents.offsets:
        documents.offsets[key] = _borders(documents, count).diff()
    return documents.offsets[key]


def _offsets(documents: "Documents", count: int, stride: int) -> Tensor:
    """Where each document begins and the last one ends, in elements of rows ``stride`` apart."""
    key = (f"offsets of {count}", stride)
    if key not in documents.offsets:
        documents.offsets[key] = _borders(documents, count) * stride
    return documents.offsets[key]


def _borders(documents: "Documents", count: int) -> Tensor:
    borders = documents.borders[: count + 1]
    missing = count + 1 - len(borders)
    return torch.cat([borders, borders[-1:].expand(missing)]) if missing > 0 else borders


@functools.cache
def _built(
    direction: str,
    *,
    documents: int,
    tokens: int,
    longest: int,
    heads: int,
    key_heads: int,
    width: int,
    strides: tuple[int, int, int],
    dtype: torch.dtype,
    device: int,
    scaling: float,
) -> _Plan:
    import cudnn

    kind = cudnn.data_type.BFLOAT16 if dtype == torch.bfloat16 else cudnn.data_type.HALF
    handle = _handle(device)
    graph = cudnn.pygraph(
        io_data_type=kind,
        intermediate_data_type=cudnn.data_type.FLOAT,
        compute_data_type=cudnn.data_type.FLOAT,
        handle=handle,
    )
    whole, attended, graded = strides
    rows = {"qkv": whole, "out": attended, "normalizers": heads, "grad": heads * width, "qkv_grad": graded}
    if direction == "forward":
        rows = {name: rows[name] for name in ("qkv", "out", "normalizers")}
    tensors = {name: _small(graph, name, documents + 1) for name in rows}
    tensors["lengths"] = _small(graph, "lengths", documents)

    def shaped(name: str, count: int, row: str) -> Any:
        stride = rows[row]
        return graph.tensor(
            name=name,
            dim=[documents, count, longest, width],
            stride=[longest * stride, width, stride, 1],
            data_type=kind,
            ragged_offset=tensors[row],
        )

    for name, count in (("q", heads), ("k", key_heads), ("v", key_heads)):
        tensors[name] = shaped(name, count, "qkv")
    options = {
        "attn_scale": scaling,
        "use_padding_mask": True,
        "seq_len_q": tensors["lengths"],
        "seq_len_kv": tensors["lengths"],
        "diagonal_alignment": cudnn.diagonal_alignment.TOP_LEFT,
        "diagonal_band_right_bound": 0,
    }
    statistics = ([documents, heads, longest, 1], [longest * heads, 1, heads, 1])
    queries = (tensors["q"], tensors["k"], tensors["v"])
    if direction == "forward":
        o, stats = graph.sdpa(*queries, generate_stats=True, **options)
        _shape(o, [documents, heads, longest, width], [longest * attended, width, attended, 1], tensors["out"])
        _shape(stats, *statistics, tensors["normalizers"]).set_data_type(cudnn.data_type.FLOAT)
        tensors |= {"o": o, "stats": stats}
    else:
        tensors["o"], tensors["do"] = shaped("o", heads, "out"), shaped("do", heads, "grad")
        tensors["stats"] = graph.tensor(
            name="stats",
            dim=statistics[0],
            stride=statistics[1],
            data_type=cudnn.data_type.FLOAT,
            ragged_offset=tensors["normalizers"],
        )
        grads = graph.sdpa_backward(
            *queries,
            tensors["o"],
            tensors["do"],
            tensors["stats"],
            max_total_seq_len_q=tokens,
            max_total_seq_len_kv=tokens,
            use_deterministic_algorithm=True,
            **options,
        )
        for name, tensor, count in zip(("dq", "dk", "dv"), grads, (heads, key_heads, key_heads), strict=True):
            _shape(
                tensor,
                [documents, count, longest, width],
                [longest * graded, width, graded, 1],
                tensors["qkv_grad"],
            )
            tensors[name] = tensor
    graph.build([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    return _Plan(graph, tensors, rows, documents, device, max(1, graph.get_workspace_size()))


def _small(graph: Any, name: str, count: int) -> Any:
    import cudnn

    return graph.tensor(name=name, dim=[count, 1, 1, 1], stride=[1, 1, 1, 1], data_type=cudnn.data_type.INT32)


def _shape(tensor: Any, dim: list[int], stride: list[int], offsets: Any) -> Any:
    return tensor.set_output(True).set_dim(dim).set_stride(stride).set_ragged_offset(offsets)
