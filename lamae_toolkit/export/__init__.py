"""A model in formats that other programs run: ONNX."""

from lamae_toolkit._lazy import lazy

__getattr__, __dir__, __all__ = lazy(__name__, {"export.onnx_file": "export_onnx onnx_bytes"})
