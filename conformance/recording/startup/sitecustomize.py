"""What every Python under `optconform trace record` runs first: it waits for an optimizer to make a step.

The folder of this file is put first on PYTHONPATH, so that Python's `site` imports it as `sitecustomize`. The script
pays for what it uses: until PyTorch or Keras is imported this costs one entry in `sys.meta_path`, and the package
itself is imported by the first step. Only what is loaded anyway is imported at the top, and the syntax is that of
Python 3.6, so that an old one can say what is wrong. Nothing here may fail aloud or change what the script sees.
"""

import os
import sys
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PACKAGE = "optconform"
OLDEST = (3, 11)
VARIABLE = "OPTCONFORM_RECORDING"
"""Environment variable that names the folder of `meeting.Meeting`."""
EVENTS_FILE = "events"
_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))


def start() -> None:
    """Watch for frameworks, then make way for the `sitecustomize` that this one hides, if there is one."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
    folder = os.environ.get(VARIABLE)
    if folder and tell(folder, "started", sys.executable):
        _watch(folder)
    del sys.modules["sitecustomize"]
    # Where there is no other, the error is the one that `site` takes for just that, and nothing is left to be seen.
    __import__("sitecustomize")


def tell(folder: str, kind: str, detail: str) -> bool:
    """Add an event to those the command reads at the end; return False where nobody waits for them any more."""
    try:
        events = os.open(os.path.join(folder, EVENTS_FILE), os.O_WRONLY | os.O_APPEND)
        try:
            # In one write, so that the lines of several processes stay whole.
            os.write(events, f"{(kind, detail)!a}\n".encode("ascii"))
        finally:
            os.close(events)
    except OSError:
        return False
    return True


class _Watch:
    """A finder that finds nothing of its own: it leaves a watched module to the others and acts once it has run."""

    def __init__(self, actions: "dict[str, Callable[[Any], None]]") -> None:
        self.actions = actions

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Return the spec that the finders after this one give a watched module, None for any other."""
        if name not in self.actions:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find and find(name, path, target)
            if spec is not None:
                self._act_after(name, spec.loader)
                return spec
        return None

    def _act_after(self, name: str, loader: "Any") -> None:
        def exec_module(module: "Any") -> None:
            del loader.exec_module  # back to the loader's own
            loader.exec_module(module)
            self.act(name, module)

        loader.exec_module = exec_module

    def act(self, name: str, module: "Any") -> None:
        """Act on a module that has been executed, once."""
        action = self.actions.pop(name, None)
        if action is not None:
            action(module)


class _Attach:
    """Hands optimizers that are about to step to the package, which is imported for the first of them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.attacher = None  # type: Any
        self.imported = False
        self.stepping = set()  # type: set[int]
        self.lock = allocate_lock()

    def __call__(self, optimizer: object) -> None:
        self._ask("attach", optimizer)

    def callback_for(self, model: object) -> "Any":
        """Return the callback that records a `fit` of the Keras model that XLA compiles; None for none."""
        return self._ask("callback_for", model)

    def _ask(self, method: str, subject: object) -> "Any":
        """Return what the method of the package's `Attacher` returns; None where it cannot be asked."""
        with self.lock:
            if not self.imported:
                self.imported = True
                self.attacher = self._import()
        try:
            return None if self.attacher is None else getattr(self.attacher, method)(subject)
        except Exception as error:
            tell(self.folder, "refused", f"{type(subject).__name__} ({type(error).__name__}: {error})")
            return None

    def _import(self) -> "Any":
        try:
            return _attacher(self.folder)
        except Exception as error:
            reason = f"{sys.executable} cannot import optconform ({type(error).__name__}: {error})"
            tell(self.folder, "refused", reason)
            sys.stderr.write(f"optconform records nothing here: {reason}\n")
            return None


def _attacher(folder: str) -> "Any":
    """Return an `attaching.Attacher` from this interpreter's own optconform or, where it has none, from this one."""
    from importlib import import_module, util

    if sys.version_info < OLDEST:
        version = sys.version.split()[0]
        raise ImportError(f"it is Python {version}, but should be {OLDEST[0]}.{OLDEST[1]} or newer")
    own = sys.modules.get(PACKAGE) or util.find_spec(PACKAGE)
    if own is None or getattr(own, "origin", PACKAGE) is None:  # a folder of that name without code has no origin
        # By its path, since the folder that holds this package may hold frameworks built for another interpreter.
        spec = util.spec_from_file_location(
            PACKAGE, os.path.join(_ROOT, "__init__.py"), submodule_search_locations=[_ROOT]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[PACKAGE] = util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACKAGE])
    return import_module(PACKAGE + ".conformance.recording.attaching").Attacher(folder, tell)


def _hook_torch(optimizer_module: "Any", attach: _Attach) -> None:
    """Attach to every `torch.optim.Optimizer` when it is about to make its first step."""

    def before_step(optimizer: "Any", arguments: "Any", keywords: "Any") -> None:
        # What is compiled is traced instead of run: nothing of this may end up in it.
        if not optimizer_module.torch.compiler.is_compiling():
            attach(optimizer)

    optimizer_module.register_optimizer_step_pre_hook(before_step)


def _hook_keras(optimizer_class: "Any", attach: _Attach) -> None:
    """Attach to every Keras optimizer when it is about to make its first step, or when that is traced.

    One that another steps, as a `LossScaleOptimizer` does, belongs to the other.
    """
    from contextlib import nullcontext
    from functools import wraps

    original = optimizer_class.apply
    # What is traced now runs later, while the values that a recording begins with are read now.
    eagerly = getattr(sys.modules.get("tensorflow"), "init_scope", nullcontext)

    # Its name and module stay Keras's, so that AutoGraph leaves it alone as it does Keras.
    @wraps(original)
    def apply(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        thread = get_ident()
        if thread in attach.stepping:
            return original(self, *args, **kwargs)
        attach.stepping.add(thread)
        try:
            replaced = vars(self).get("apply")
            with eagerly():
                attach(self)
            recorded = vars(self).get("apply")
            if recorded is replaced:
                return original(self, *args, **kwargs)
            return recorded(*args, **kwargs)  # this step as the later ones, which go there by themselves
        finally:
            attach.stepping.discard(thread)

    optimizer_class.apply = apply


def _hook_fit(trainer_class: "Any", attach: _Attach) -> None:
    """Give every `fit` that XLA compiles a callback: out of its steps, nothing can be called while they run."""
    from functools import wraps

    original = trainer_class.fit

    @wraps(original)
    def fit(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
        given = kwargs.get("callbacks")
        alone = hasattr(given, "callbacks") or len(args) > _PLACE_OF_CALLBACKS  # a whole `CallbackList` is not added to
        if not alone and not self.run_eagerly and self.jit_compile:
            callbacks = list(given) if isinstance(given, (list, tuple)) else [given]
            kwargs["callbacks"] = [each for each in (*callbacks, attach.callback_for(self)) if each is not None]
        return original(self, *args, **kwargs)

    trainer_class.fit = fit


_PLACE_OF_CALLBACKS = 5
"""Among the arguments of `fit` after `self`."""
_HOOKS = {
    "torch.optim.optimizer": _hook_torch,
    "keras.src.optimizers.base_optimizer": lambda module, attach: _hook_keras(module.BaseOptimizer, attach),
    "keras.src.optimizers.loss_scale_optimizer": lambda module, attach: _hook_keras(module.LossScaleOptimizer, attach),
    "keras.src.backend.tensorflow.trainer": lambda module, attach: _hook_fit(module.TensorFlowTrainer, attach),
}  # type: dict[str, Callable[[Any, _Attach], None]]
"""Module -> what is done to it once it has been executed."""


def _watch(folder: str) -> None:
    attach = _Attach(folder)

    def acting(hook: "Callable[[Any, _Attach], None]") -> "Callable[[Any], None]":
        def act(module: "Any") -> None:
            tell(folder, "imported", module.__name__)
            try:
                hook(module, attach)
            except Exception as error:
                tell(folder, "refused", f"this {module.__name__} has no place to hook in ({error})")

        return act

    watch = _Watch({name: acting(hook) for name, hook in _HOOKS.items()})
    for name in _HOOKS:
        if name in sys.modules:
            watch.act(name, sys.modules[name])
    sys.meta_path.insert(0, watch)


if __name__ == "sitecustomize":
    start()
