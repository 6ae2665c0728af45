"""The LSTM of DTNMR with its gradient written out, which is where a training step spends its time.

Automatic differentiation adds up the gradient of the kernel step by step; here it is one product over all steps.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def lstm(x: Any, kernel: Any, live: Any) -> Any:
    """Hidden states of one LSTM layer at every step, from h_0 = c_0 = 0; differentiable in ``x`` and ``kernel``.

    ==============================================================  ======================================
    z = x_t + h_{t-1} W                                             four blocks of columns: i, f, g, o
    c_t = live_t (s(z_f) c_{t-1} + s(z_i) tanh(z_g))                s: the sigmoid
    h_t = live_t s(z_o) tanh(c_t)
    ==============================================================  ======================================

    Args:
        x: (T, B, 4 H) the input of each step times its kernel, biases included.
        kernel: W (H, 4 H).
        live: (T, B, 1); 0 keeps the state at zero: the sequence has not begun yet.

    Returns:
        h (T, B, H).
    """
    units = kernel.shape[0]

    @ops.custom_gradient
    def run(x: Any, kernel: Any) -> Any:
        def forward(state: Any, step: Any) -> Any:
            (h, c, *_), (x_t, on) = state, step
            i, f, g, o = ops.split(x_t + ops.matmul(h, kernel), 4, axis=-1)
            i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
            c = on * (f * c + i * g)
            # The gates ride along in the state because the TensorFlow backend's scan gives what it collects the
            # shapes of the state.
            after = (on * o * ops.tanh(c), c, i, f, g, o)
            return after, after

        zero = ops.zeros_like(x[0, :, :units])
        _, (h, c, i, f, g, o) = ops.scan(forward, (zero,) * 6, (x, live))

        def before(states: Any) -> Any:
            return ops.concatenate([zero[None], states[:-1]])

        def gradient(*upstream: Any, **named: Any) -> tuple[Any, Any]:
            backwards = ops.transpose(kernel)

            def backward(state: Any, step: Any) -> Any:
                (dh, dc, *_), (d_out, on, c_t, c_before, i, f, g, o) = state, step
                tanh_c = ops.tanh(c_t)
                dh = on * (dh + d_out)
                dc = on * (dc + dh * o * (1.0 - tanh_c * tanh_c))
                di, df = dc * g * i * (1.0 - i), dc * c_before * f * (1.0 - f)
                dg, do = dc * i * (1.0 - g * g), dh * tanh_c * o * (1.0 - o)
                dh = ops.matmul(ops.concatenate([di, df, dg, do], axis=-1), backwards)
                after = (dh, dc * f, di, df, dg, do)
                return after, after

            d_h = named.get("upstream", upstream[0])
            steps = (d_h, live, c, before(c), i, f, g, o)
            _, (_, _, *gates) = ops.scan(backward, (zero,) * 6, steps, reverse=True)
            dz = ops.concatenate(gates, axis=-1)
            flat = ops.reshape(before(h), (-1, units))
            return dz, ops.matmul(ops.transpose(flat), ops.reshape(dz, (-1, 4 * units)))

        return h, gradient

    return run(ops.convert_to_tensor(x), ops.add(kernel, 0.0))  # a tensor: TensorFlow would miss a variable's gradient
