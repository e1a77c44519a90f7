"""ONNX ops as parsers into the op families. A new op is one function in one of these files; they are discovered."""
