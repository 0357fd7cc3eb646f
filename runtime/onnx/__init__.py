"""Models that `compress export --target onnx` wrote, run by ONNX Runtime.

In: the folder. Out: an engine for `stream.StreamingExtractor`, as of a bundle.
Start with engine.py. onnxruntime is imported only when a model is loaded.
"""
