"""schemes, fake quantisation, calibration, `compress quantize`."""
