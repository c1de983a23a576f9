"""What the graph beside weights computes, read as data: parsed, never loaded and never run.

A SavedModel and the `.meta` file of a TF1 checkpoint hold the operations that their variables go
through. That tells what names and shapes leave open: behind which layer one stands, and what lies
in between.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from simclr_tf.weights.locate import SAVED_MODEL_FILE, Location

_LARGEST = 2**26  # bytes; the graph of a ResNet-200 with selective kernels has half of it
_LONGEST = 1_000_000  # operations on all ways back; real graphs have some hundred on each
_APPLIED = ("Conv2D", "MatMul")  # ops whose second input is a kernel
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_PASSING_ON = ("ReadVariableOp", "Identity", "Cast")  # between a variable and its use


class Application(NamedTuple):
    """An operation of the graph.

    Attributes:
        op: Its kind, such as `MatMul`.
        kernel: Full name of the variable that it applies, None for others.
    """

    op: str
    kernel: str | None


class _Body(NamedTuple):
    """A function, or the top level of a graph.

    Attributes:
        nodes: Its operations by name.
        variables: Full name of the variable behind an argument or operation, by its name.
    """

    nodes: dict[str, node_def_pb2.NodeDef]
    variables: dict[str, str]


class Graph:
    """The operations beside weights.

    Args:
        metas: The graphs of a file.
    """

    def __init__(self, metas: Sequence[meta_graph_pb2.MetaGraphDef]):
        self._bodies = [body for meta in metas for body in _bodies(meta)]

    def before(self, kernel: str, kinds: Sequence[str]) -> set[Application] | None:
        """The nearest operations of some kinds that lead to the one that applies a kernel.

        Args:
            kernel: Full name of the variable.
            kinds: Operations at which the way back ends, such as `MatMul`.

        Returns:
            What was met; None where the graph does not apply the kernel, its parts disagree, the
            way back leaves the part that is known, or all is longer than any network.
        """
        found, length = None, 0
        for body in self._bodies:
            for node in body.nodes.values():
                if _applied_kernel(body, node) != kernel:
                    continue
                met, passed = _met(body, node.input[0], kinds)
                length += passed
                if length > _LONGEST:
                    return None
                if met is None:
                    continue
                if found not in (None, met):
                    return None
                found = met
        return found


def read_graph(location: Location) -> Graph | None:
    """The graph beside weights, None where there is none that can be read.

    Args:
        location: From `locate.locate`.
    """
    if location.saved_model is not None:
        content = _read(os.path.join(location.saved_model, SAVED_MODEL_FILE))
        saved = saved_model_pb2.SavedModel()
        return None if not _parse(saved, content) else Graph(saved.meta_graphs)
    meta = meta_graph_pb2.MetaGraphDef()
    return Graph([meta]) if _parse(meta, _read(f"{location.prefix}.meta")) else None


def _read(path: str) -> bytes | None:
    try:
        if not tf.io.gfile.exists(path) or tf.io.gfile.stat(path).length > _LARGEST:
            return None
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.OpError:
        return None


def _parse(
    message: saved_model_pb2.SavedModel | meta_graph_pb2.MetaGraphDef, content: bytes | None
) -> bool:
    if content is None:
        return False
    try:
        message.ParseFromString(content)
    except Exception:  # protobuf's own kind, which TensorFlow does not pass on
        return False
    return True


def _bodies(meta: meta_graph_pb2.MetaGraphDef) -> Iterator[_Body]:
    """The top level, and each function whose captured variables are known."""
    top = {node.name: node for node in meta.graph_def.node}
    yield _Body(top, {name: name for name, node in top.items() if node.op in _VARIABLES})
    objects = meta.object_graph_def
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    for name, concrete in objects.concrete_functions.items():
        if name not in functions or not concrete.bound_inputs:
            continue
        arguments = [arg.name for arg in functions[name].signature.input_arg]
        captured = arguments[-len(concrete.bound_inputs) :]
        variables = {
            argument: objects.nodes[index].variable.name.split(":")[0]
            for argument, index in zip(captured, concrete.bound_inputs, strict=False)
            if 0 <= index < len(objects.nodes) and objects.nodes[index].HasField("variable")
        }
        yield _Body({node.name: node for node in functions[name].node_def}, variables)


def _name(reference: str) -> str:
    """`dense/MatMul:product:0` -> `dense/MatMul`."""
    return reference.split(":")[0]


def _applied_kernel(body: _Body, node: node_def_pb2.NodeDef) -> str | None:
    """The variable that a convolution or product multiplies its data with; not in a gradient."""
    if node.op not in _APPLIED or len(node.input) < 2:
        return None
    if node.attr["transpose_a"].b or node.attr["transpose_b"].b:
        return None
    name = _name(node.input[1])
    for _ in range(len(_PASSING_ON) + 1):
        if name in body.variables:
            return body.variables[name]
        source = body.nodes.get(name)
        if source is None or source.op not in _PASSING_ON or not source.input:
            return None
        name = _name(source.input[0])
    return None


def _met(body: _Body, start: str, kinds: Sequence[str]) -> tuple[set[Application] | None, int]:
    """Walks back from an input, and counts; None where it comes to data from outside."""
    met, seen = set(), {_name(start)}
    waiting = collections.deque(seen)
    while waiting:
        name = waiting.popleft()
        if name in body.variables:
            continue
        node = body.nodes.get(name)
        if node is None:
            return None, len(seen)
        if node.op in kinds:
            met.add(Application(node.op, _applied_kernel(body, node)))
            continue
        sources = {_name(source) for source in node.input if not source.startswith("^")} - seen
        seen |= sources
        waiting.extend(sources)
    return met, len(seen)
