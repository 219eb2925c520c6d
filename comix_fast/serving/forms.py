"""Forms that other programs read: an ONNX file, and torch.export's .pt2."""

from __future__ import annotations

import importlib
import importlib.util
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from comix_fast.errors import ComixError
from comix_fast.serving.parts import FEWEST_CLIPS, Part

METADATA = "comix.json"
"""The file inside a .pt2 archive that holds the metadata."""
_MADE_FOR = {"batch": 2, "clips": 4}


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


class Form(ABC):
    """A kind of file.

    suffix: of its files. checker: what runs a file to see whether it is right, "" where nothing here can.
    """

    suffix: str

    @property
    @abstractmethod
    def checker(self) -> str:
        """The program that `run` runs a file with, and its version; "" if it is not installed."""

    @abstractmethod
    def require(self) -> None:
        """Raises ComixError, with the line that installs it, if a package that writing needs is missing."""

    @abstractmethod
    def write(self, program: ExportedProgram, part: Part, metadata: Mapping[str, Any], path: Path) -> None:
        """Writes the file. metadata: JSON values by name, kept inside it."""

    @abstractmethod
    def run(self, path: Path, part: Part, x: Tensor) -> tuple[Tensor, ...]:
        """What the file gives of an input. Raises ComixError where onnxruntime can't run it."""


class TorchForm(Form):
    """torch.export's archive; torch.export.load reads it."""

    suffix = ".pt2"

    @property
    def checker(self) -> str:
        return f"torch {torch.__version__}"

    def require(self) -> None:
        """Nothing: torch is here."""

    def write(self, program: ExportedProgram, part: Part, metadata: Mapping[str, Any], path: Path) -> None:
        # The input it was traced with is as large as a batch of clips, and no one asks for it.
        program.example_inputs = None
        with path.open("wb") as file, warnings.catch_warnings():
            # Weights in the order of channels-last are whole, but torch looks for contiguous ones; on a CPU, where
            # these are, it writes the bytes as they are.
            warnings.filterwarnings("ignore", message="No complete tensor found", category=UserWarning)
            torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})

    def run(self, path: Path, part: Part, x: Tensor) -> tuple[Tensor, ...]:
        with path.open("rb") as file:
            found: tuple[Tensor, ...] = torch.export.load(file).module()(x)
        return found


class OnnxForm(Form):
    """One .onnx file with its weights inside, in the operators of the default set of torch's exporter."""

    suffix = ".onnx"

    @property
    def checker(self) -> str:
        if not installed("onnxruntime"):
            return ""
        return f"onnxruntime {importlib.import_module('onnxruntime').__version__}"

    def require(self) -> None:
        missing = [name for name in ("onnx", "onnxscript") if not installed(name)]
        if missing:
            raise ComixError(
                f"ONNX files need {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
                hint="pip install 'comix-fast[export]', or choose --format torch, which needs nothing more",
            )

    def write(self, program: ExportedProgram, part: Part, metadata: Mapping[str, Any], path: Path) -> None:
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=[part.takes],
            output_names=list(part.gives),
            dynamic_shapes=(part.free,),
            external_data=False,
            verbose=False,
        )
        if made is None:
            raise ComixError("torch made no ONNX program", hint="choose --format torch")
        known = {**metadata, "opset": made.model.opset_imports[""]}
        made.model.metadata_props.update(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}
        )
        made.save(path, external_data=False)
        importlib.import_module("onnx.checker").check_model(str(path))

    def run(self, path: Path, part: Part, x: Tensor) -> tuple[Tensor, ...]:
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            found = session.run(list(part.gives), {part.takes: x.numpy()})
        except Exception as error:  # its exceptions have no base of their own
            raise ComixError(
                f"onnxruntime {runtime.__version__} can't run the file, so it was not kept",
                [str(error).strip().split("\n", 1)[0]],
                hint="update it: pip install --upgrade 'comix-fast[export]'",
            ) from error
        return tuple(torch.from_numpy(array) for array in found)


def traced(part: Part) -> ExportedProgram:
    """The part as torch.export's program, its free sizes free: any batch, any number of clips where that is free.

    Only shapes are looked at; nothing is computed.
    """
    fewest = {"batch": 1, "clips": FEWEST_CLIPS}
    free = {axis: Dim(name, min=fewest[name]) for axis, name in part.free.items()}
    x = torch.zeros([_MADE_FOR[size] if isinstance(size, str) else size for size in part.sizes])
    with torch.no_grad():
        return torch.export.export(part.module, (x,), dynamic_shapes=(free,), strict=False)
