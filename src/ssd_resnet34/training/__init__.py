"""Training (extra ``[train]``): people's data, fitting, rendered scenes, a lean trainer for them."""
