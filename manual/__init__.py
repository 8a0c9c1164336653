"""What the documentation takes from the code: its tables, its figures, the list of licences.

python -m manual    # writes them into docs/; a test says when that is due
"""
