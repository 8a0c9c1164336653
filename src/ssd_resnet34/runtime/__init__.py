"""Running an artifact: sessions, their tensors, and the engines behind them."""
