"""Training (extra ``[train]``): people's data, fitting; rendered scenes and their lean trainer."""
