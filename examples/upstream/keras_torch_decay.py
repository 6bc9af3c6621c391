"""keras 3.15.1 on the PyTorch backend, float64 weights: weight decay multiplies by a factor rounded to float32.

TorchOptimizer._apply_weight_decay forms 1 - weight_decay * learning_rate with the float32 tensor that holds the
learning rate, so the factor is off by up to 3e-8, and 1 where weight_decay * learning_rate is less than that: then
nothing decays. The TensorFlow and JAX backends subtract variable * weight_decay * learning_rate in float64; only those
two numbers are rounded, if at all, which is 1e-7 of the decay. KERAS_BACKEND=tensorflow, or jax with JAX_ENABLE_X64=1,
shows it. keras.config.set_floatx("float64") makes the learning rate, and so the factor, float64. Found as OC501
device-mismatch: optconform gate keras.optimizers:AdamW --framework keras-torch --dtype float64
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

for learning_rate, weight_decay in ((1e-3, 4e-3), (1e-4, 1e-2), (1e-5, 1e-3)):
    theta = keras.Variable([1.0, 1.0], dtype="float64")
    optimizer = keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    optimizer.build([theta])
    optimizer.apply([keras.ops.zeros(2, dtype="float64")], [theta])
    found = keras.ops.convert_to_numpy(theta)[0]
    expected = 1.0 * (1.0 - learning_rate * weight_decay)
    decayed = (1.0 - found) / (learning_rate * weight_decay)
    print(f"{keras.backend.backend()}: found {found:.13f}, expected {expected:.13f}; {decayed:.6f} of the decay")
