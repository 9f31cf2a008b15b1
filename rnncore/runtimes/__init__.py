"""How a forecaster is run: one contract, one module per runtime, and the export that feeds them."""
