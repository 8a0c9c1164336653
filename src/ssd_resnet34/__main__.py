"""``python -m ssd_resnet34`` is the command."""

from .cli.main import main

main()
