"""C kernels for GRU and LSTM on a CPU, and what compiles, loads, checks and calls them."""
