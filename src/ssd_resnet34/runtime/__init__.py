"""Running an artifact: sessions, their tensors, and the engines behind them."""

import os

# ONNX Runtime's official builds send events to their makers from the first import on;
# disable_telemetry_events() comes too late for the first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
