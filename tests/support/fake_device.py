"""A simulated GPU: its tensors report its device, are computed on the CPU, and are refused where a
real GPU refuses them.

    with fake_gpu() as device:
        pipe.to(device)

UNCONCEPT_GPU=cuda selects a real GPU for the same tests.

In this context, an operation on tensors of both devices raises, as on a real GPU. Scalars, copies
and indices on the CPU may cross. The results are those of the CPU, up to the order of operations.
"""

import functools
import os
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

aten = torch.ops.aten
NAME = "pretend"
INDEXED = (
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
)
CROSSING = (aten._to_copy.default, aten.copy_.default, aten._local_scalar_dense.default)


class Backend(_DummyBackendModule):
    """What torch asks of a backend wherever it asks for the machine's accelerator, in tests that
    never touch the GPU, too.
    """

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]


if not os.environ.get("UNCONCEPT_GPU"):  # a machine has one accelerator
    _setup_privateuseone_for_python_backend(NAME, Backend())


class OnFakeGpu(torch.Tensor):
    """`inner`, a CPU tensor, that reports the simulated GPU as its device."""

    @staticmethod
    def __new__(cls, inner):
        like = dict(
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            requires_grad=inner.requires_grad,
        )
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), device=torch.device(NAME, 0), **like
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"OnFakeGpu({self.inner})"

    def tolist(self):
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Dispatch(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and saying so for every operation takes half of its time."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if OnFakeGpu in types or asks_for_gpu(kwargs):
            return run(func, args, kwargs)
        return func(*args, **kwargs)


def asks_for_gpu(kwargs) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == NAME


def unwrap(value, there: list, here: list):
    """An argument with the CPU tensors in place of those that are on the simulated GPU.

    This runs for every operation, and torch's own functions for trees are slower.

    Args:
        value: An argument, or a list of arguments.
        there: Tensors on the simulated GPU are added to it.
        here: Tensors on the CPU that are not scalars are added to it.
    """
    if isinstance(value, torch.Tensor):
        if isinstance(value, OnFakeGpu):
            there.append(value)
            return value.inner
        if value.dim() > 0:
            here.append(value)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)([unwrap(v, there, here) for v in value])
    return value


@functools.cache
def shares_memory(func) -> bool:
    """Is a result of this operation one of its arguments, or a view of it?"""
    return any(result.alias_info is not None for result in func._schema.returns)


def wrap(value):
    """A result with its tensors on the simulated GPU."""
    if isinstance(value, torch.Tensor):
        return OnFakeGpu(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(wrap, value))
    return value


def run(func, args, kwargs):
    there: list[OnFakeGpu] = []
    here: list[torch.Tensor] = []
    inner = [unwrap(value, there, here) for value in args]
    options = {name: unwrap(value, there, here) for name, value in kwargs.items()}
    if (
        there
        and here
        and func not in CROSSING
        and not (func in INDEXED and isinstance(args[0], OnFakeGpu))
    ):
        raise RuntimeError(
            f"{func} on tensors of {NAME}:0 and of the cpu ({[tuple(a.shape) for a in here]})"
        )
    if kwargs.get("generator") is not None and (there or asks_for_gpu(kwargs)):
        raise RuntimeError(f"{func} on {NAME}:0 with a generator of the cpu")

    if kwargs.get("device") is not None:
        options["device"] = "cpu"
    out = func(*inner, **options)
    if func is aten.copy_.default:
        return args[0]
    stays = asks_for_gpu(kwargs) or (there and kwargs.get("device") is None)
    if func is aten._local_scalar_dense.default or not stays:
        return out
    if not shares_memory(func):
        return wrap(out)
    return return_and_correct_aliasing(func, args, kwargs, wrap(out))


@contextmanager
def fake_gpu():
    if real := os.environ.get("UNCONCEPT_GPU"):
        yield torch.device(real, 0)
        return
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(
        True
    )  # a parameter that moves becomes another tensor
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) is made here and moved
    try:
        with Dispatch():
            yield torch.device(NAME, 0)
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_swap_module_params_on_conversion(before)
