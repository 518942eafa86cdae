"""A backend "onnxruntime" for Triton's server in Python, where the one that NVIDIA builds is not at hand.

Like that one, it joins the requests that it is given along the first axis, and runs the model once. Tensors
go by DLPack, since the server's binding was built for NumPy 1 and takes the arrays of NumPy 2 for empty ones.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """One instance of a model; the server calls these methods by their names."""

    def initialize(self, args: dict[str, str]) -> None:
        file = Path(args["model_repository"], args["model_version"], "model.onnx")
        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self._outputs = [output["name"] for output in json.loads(args["model_config"])["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        given = [{tensor.name(): np.from_dlpack(tensor) for tensor in one.inputs()} for one in requests]
        joined = {name: np.concatenate([one[name] for one in given]) for name in given[0]}
        results = self._session.run(self._outputs, joined)
        counts = [len(next(iter(one.values()))) for one in given]
        ends = np.cumsum(counts)[:-1].tolist()
        parts = zip(*(np.split(result, ends) for result in results), strict=True)
        return [
            triton.InferenceResponse(
                [
                    triton.Tensor.from_dlpack(name, part.copy())
                    for name, part in zip(self._outputs, of_request, strict=True)
                ]
            )
            for of_request in parts
        ]
