"""Recurrent layers with the semantics of Keras 1 and 2, which old weights need, in ``keras.ops`` only.

Keras 2's recurrent layers default to a gate activation that Keras 3 no longer has under that name, draw one
dropout mask per gate, and (GRU) apply the reset gate before the recurrent product. :func:`recurrent` builds layers
that follow those rules, so that old weights give the old numbers.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from common.dropout import drop
from common.weights import GateActivation
from seer.options import Cell


@keras.saving.register_keras_serializable("encore")
def hard_sigmoid(x: Any) -> Any:
    """Keras 2's ``hard_sigmoid``, clip(0.2 x + 0.5, 0, 1); Keras 3's of that name is clip(x / 6 + 0.5, 0, 1)."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


GATE_ACTIVATIONS = {"hard_sigmoid": hard_sigmoid, "sigmoid": "sigmoid", "keras3_hard_sigmoid": "hard_sigmoid"}


def recurrent(
    cell: Cell, units: int, gate_activation: GateActivation, dropout: float = 0.0, name: str | None = None
) -> keras.layers.Layer:
    """A recurrent layer with the semantics of Keras 2: (batch, time, features) -> last hidden state (batch, units).

    Args:
        cell: "lstm", "gru" (reset gate before the recurrent product), "gru_reset_after" (after it, with a bias of its
            own: the default of TensorFlow 2 and Keras 3) or "rnn" (Elman).
        units: size of the hidden state.
        gate_activation: Keras 2's "hard_sigmoid", Keras 3's of that name, or "sigmoid", for which GPUs have fused
            kernels (only without dropout; the reset-before GRU has none).
        dropout: rate for the inputs and for the state; as in Keras 2, every gate has masks of its own, drawn once
            per sequence and kept over time.
        name: name of the layer.
    """
    # implementation=1 is Keras 2's default: it is the one with a dropout mask per gate.
    common: dict[str, Any] = {"dropout": dropout, "recurrent_dropout": dropout, "name": name}
    gates: dict[str, Any] = {"recurrent_activation": GATE_ACTIVATIONS[gate_activation], "implementation": 1}
    if cell == "lstm":
        kind = HardSigmoidLSTM if gate_activation == "hard_sigmoid" else keras.layers.LSTM
        layer = kind(units, **(gates | common))
    elif cell in ("gru", "gru_reset_after"):
        layer = keras.layers.GRU(units, reset_after=cell == "gru_reset_after", **gates, **common)
    else:
        layer = keras.layers.SimpleRNN(units, **common)
    return cheap_masks(layer)


def cheap_masks(layer: keras.layers.RNN) -> keras.layers.RNN:
    """Let a recurrent layer of Keras draw its dropout masks by :mod:`common.dropout`; returns the layer."""
    cell = layer.cell

    def create(step_input: Any, rate: float) -> Any:
        ones, count = ops.ones_like(step_input), getattr(cell, "dropout_mask_count", None)
        masks = [drop(ones, rate, cell.seed_generator.next()) for _ in range(count or 1)]
        return masks if count else masks[0]

    cell._create_dropout_mask = create  # what Keras calls in all of its cells; there is no public way
    return layer


@keras.saving.register_keras_serializable("encore")
class HardSigmoidLSTM(keras.layers.LSTM):
    """``keras.layers.LSTM`` with Keras 2's gates, whose gradient is written out instead of traced.

    Same variables, same dropout masks and, to rounding, the same values and gradients as
    ``keras.layers.LSTM(recurrent_activation=hard_sigmoid, implementation=1)``. Backpropagation through time keeps six
    arrays per step where automatic differentiation keeps several times as many, which makes a training step on a CPU
    faster (``benchmarks/README.md``). Only the plain case is written out (last state wanted, no masking
    of steps); any other falls back to Keras.

    The gradient with respect to the input sequences is not computed: they must be data, not the output of a layer.
    """

    def __init__(self, units: int, **options: Any) -> None:
        options = {"recurrent_activation": hard_sigmoid, "implementation": 1} | options
        super().__init__(units, **options)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """See ``keras.layers.RNN.inner_loop``."""
        plain = mask is None and self.cell.implementation == 1 and self.cell.bias is not None
        if not plain or self.return_sequences or self.return_state or self.go_backwards or self.stateful:
            return super().inner_loop(sequences, initial_state, mask, training)
        cell, masks = self.cell, None
        if training and cell.dropout > 0 and cell.recurrent_dropout > 0:
            inputs = ops.stack(cell.get_dropout_mask(sequences[:, 0, :]))
            state = ops.stack(cell.get_recurrent_dropout_mask(initial_state[0]))
            masks = ops.concatenate([inputs, state], axis=-1)  # (4, batch, features + units)
        elif training and (cell.dropout > 0 or cell.recurrent_dropout > 0):
            return super().inner_loop(sequences, initial_state, mask, training)
        kernel = ops.concatenate([cell.kernel, cell.recurrent_kernel], axis=0)
        kernel, bias = (ops.cast(weight, sequences.dtype) for weight in (kernel, cell.bias))
        hidden, memory = initial_state
        hidden = lstm_last_state(sequences, hidden, memory, kernel, bias, masks)
        return hidden, ops.expand_dims(hidden, 1), [hidden, hidden]  # only the first is read in the plain case


def lstm_last_state(x: Any, hidden: Any, memory: Any, kernel: Any, bias: Any, masks: Any = None) -> Any:
    """The last hidden state of an LSTM with hard-sigmoid gates, differentiable in kernel and bias.

    ==========================================  ====================================================
    z = [x_t, h_{t-1}] W + b                     four blocks of columns: i, f, g, o
    c_t = s(z_f) c_{t-1} + s(z_i) tanh(z_g)      s(z) = clip(0.2 z + 0.5, 0, 1)
    h_t = s(z_o) tanh(c_t)
    ==========================================  ====================================================

    Args:
        x: (batch, time, features) data.
        hidden: h_0 (batch, units).
        memory: c_0 (batch, units).
        kernel: W (features + units, 4 units), input rows first.
        bias: b (4 units,).
        masks: None, or one dropout mask per gate, (4, batch, features + units), on [x_t, h_{t-1}].

    Returns:
        h_T (batch, units).
    """
    features = x.shape[-1]
    steps = ops.transpose(x, (1, 0, 2))
    length = ops.shape(steps)[0]

    def gates(z: Any) -> tuple[Any, Any, Any, Any]:
        i, f, g, o = ops.split(z, 4, axis=-1)
        return hard_sigmoid(i), hard_sigmoid(f), ops.tanh(g), hard_sigmoid(o)

    def slope(gate: Any) -> Any:  # s'(z) in terms of s(z): 0.2 inside the ramp, 0 where it is clipped
        return ops.cast(ops.logical_and(gate > 0.0, gate < 1.0), gate.dtype) * 0.2

    def product(xh: Any, kernel: Any) -> Any:  # [x, h] W, each gate with its own mask
        if masks is None:
            return ops.matmul(xh, kernel)
        blocks = ops.split(kernel, 4, axis=-1)
        return ops.concatenate([ops.matmul(xh * masks[k], blocks[k]) for k in range(4)], axis=-1)

    def kernel_gradient(xh: Any, dz: Any) -> Any:  # [x, h]' dz
        if masks is None:
            return ops.matmul(ops.transpose(xh), dz)
        blocks = ops.split(dz, 4, axis=-1)
        return ops.concatenate([ops.matmul(ops.transpose(xh * masks[k]), blocks[k]) for k in range(4)], axis=-1)

    def hidden_gradient(dz: Any, recurrent_kernel: Any) -> Any:  # dz W_h'
        if masks is None:
            return ops.matmul(dz, ops.transpose(recurrent_kernel))
        blocks = zip(ops.split(dz, 4, axis=-1), ops.split(recurrent_kernel, 4, axis=-1), strict=True)
        return sum(ops.matmul(d, ops.transpose(w)) * masks[k, :, features:] for k, (d, w) in enumerate(blocks))

    @ops.custom_gradient
    def run(kernel: Any, bias: Any) -> Any:
        def forward(state: Any, x_t: Any) -> Any:
            h_before, c_before, *_ = state
            z = product(ops.concatenate([x_t, h_before], axis=-1), kernel) + bias
            i, f, g, o = gates(z)
            c = f * c_before + i * g
            # The gates ride along in the state because the TensorFlow backend's scan gives what it collects the
            # shapes of the state.
            return (o * ops.tanh(c), c, i, f, g, o), (h_before, c_before, i, f, g, o)

        start = (hidden, memory, *(ops.zeros_like(hidden) for _ in range(4)))
        (h, *_), history = ops.scan(forward, start, steps)

        def gradient(*upstream: Any, **named: Any) -> tuple[Any, Any]:
            def backward(done: Any, carry: Any) -> Any:
                dh, dc, d_kernel, d_bias = carry
                x_t, h_before, c_before, i, f, g, o = (a[length - 1 - done] for a in (steps, *history))
                tanh_c = ops.tanh(f * c_before + i * g)
                dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
                dz = [dc * g * slope(i), dc * c_before * slope(f), dc * i * (1.0 - g * g), dh * tanh_c * slope(o)]
                dz = ops.concatenate(dz, axis=-1)
                d_kernel = d_kernel + kernel_gradient(ops.concatenate([x_t, h_before], axis=-1), dz)
                d_bias = d_bias + ops.sum(dz, axis=0)
                return hidden_gradient(dz, kernel[features:]), dc * f, d_kernel, d_bias

            # The sum makes a tensor of the rows that states picked by ops.take get as gradient on TensorFlow.
            # PyTorch's backend hands it over by name, behind what the function was given.
            dh = ops.add(ops.zeros_like(hidden), named.get("upstream", upstream[0]))
            start = (dh, ops.zeros_like(memory), ops.zeros_like(kernel), ops.zeros_like(bias))
            *_, d_kernel, d_bias = ops.fori_loop(0, length, backward, start)
            return d_kernel, d_bias

        return h, gradient

    return run(ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias))
