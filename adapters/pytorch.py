"""PyTorch: optimizers that take `params` first and are stepped through `Parameter.grad`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .devices import resolve_device
from .errors import BuildFailed, UnknownOption, foreign_code
from .layouts import accumulation_options, copies_in, dtypes_of, parts_of
from .options import constructor_arguments, without_unaccepted_lr
from .protocol import PLAIN, Array, Layout, Target
from .text import escape_control
from .torch_construct import construct, construct_in_groups, require_path
from .torch_devices import present_devices
from .torch_optimizer import Precision, TorchOptimizer
from .torch_paths import PATHS, path_named, path_options
from .torch_tensors import to_tensor


class TorchAdapter:
    """Builds PyTorch optimizers. A path names constructor options, or how the step is called: see `torch_paths`."""

    framework = "torch"
    paths = tuple(PATHS)
    compiled_paths = tuple(name for name, way in PATHS.items() if way.compiled)

    def versions(self) -> dict[str, str]:
        """Return the versions of torch and NumPy."""
        return {"torch": str(torch.__version__), "numpy": np.__version__}

    def devices(self) -> tuple[str, ...]:
        """Return `cpu` and one `gpu:N` for every CUDA or ROCm device."""
        return present_devices()

    def place(self, device: str) -> str:
        """Return torch's own name for `device`: `cpu`, `cuda:0`, ... Raises `MissingDevice`."""
        remedy = "Install a CUDA build of torch and check torch.cuda.is_available()."
        return resolve_device(device, self.devices(), self.framework, remedy).replace("gpu", "cuda")

    def build(
        self,
        target: Target,
        hyperparameters: Mapping[str, Any],
        parameters: Mapping[str, Array],
        *,
        dtype: str = "float64",
        device: str = "cpu",
        path: str | None = None,
        layout: Layout = PLAIN,
    ) -> TorchOptimizer:
        """Construct `target` over copies of `parameters`: one list of them, or `param_groups` as `layout` says.

        Parameters excluded from decay get a group of their own whose weight decay is 0. The path `compiled`
        forgets what torch has compiled before, whose code would otherwise count against the same limit.

        Raises `UnknownOption`, `MissingDevice`, `BuildFailed`, `PathNotTaken` and `NotSupported`.
        """
        place = self.place(device)
        way = path_named(path)
        parts = parts_of(layout, parameters)
        precision = Precision(dtype, dtypes_of(layout, parameters, dtype))
        asked = {**hyperparameters, **accumulation_options(target, layout)}
        special = path_options(target, path, asked, dtype)
        asked = without_unaccepted_lr(target, asked)
        plain = constructor_arguments(target, asked)
        arguments = constructor_arguments(target, {**asked, **special}) if special else plain
        tensors = {
            name: torch.nn.Parameter(to_tensor(array).to(place), requires_grad=way.requires_grad)
            for name, array in copies_in(parameters, precision.parameters).items()
        }
        if special:
            require_path(target, path, tensors, plain, arguments)
        if way.compiled:
            torch.compiler.reset()
        if layout.groups or layout.undecayed:
            built = construct_in_groups(target, parts, tensors, arguments)
        else:
            built = construct(target, list(tensors.values()), arguments)
        with foreign_code(BuildFailed, f"{escape_control(target.spec)}: reading its options"):
            optimizer = TorchOptimizer(target, built, tensors, precision, arguments, way)
        if "lr" not in optimizer.held:
            raise UnknownOption(
                f"{escape_control(target.spec)} keeps no learning rate in its parameter groups, so steps could not be "
                "told theirs. Say which option it is with --map lr=NAME."
            )
        return optimizer
