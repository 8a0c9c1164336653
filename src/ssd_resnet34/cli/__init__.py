"""The command ``ssd-resnet34``: each file parses, calls a room, prints."""
