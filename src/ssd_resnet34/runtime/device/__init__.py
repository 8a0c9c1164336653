"""The whole road on one torch device: pixels in, chosen boxes out.

Made for CUDA, and written in torch operations that run on any device, so that all of it but the
capture of CUDA graphs and cuDNN's fused kernels is tested without a GPU. ``runner`` joins the rest.
"""
