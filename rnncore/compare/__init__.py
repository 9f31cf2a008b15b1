"""What run files mean. This half never imports torch."""
