"""Training (extra ``[train]``): rendered scenes, the multibox loss, a lean resumable trainer."""
