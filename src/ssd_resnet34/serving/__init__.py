"""A server of the Open Inference Protocol, with a page for people (extra [serve])."""
