"""Write every table, figure and list of the documentation that is not as the code has it."""

from ssd_resnet34.files import write

from .pages import REPOSITORY, wanted

for path, data in wanted().items():
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)
        print(path.relative_to(REPOSITORY))
