"""The benchmark as MLPerf Inference defines it, by its own LoadGen (extra ``[mlperf]``)."""
