"""How it is shown. This half never imports torch."""
