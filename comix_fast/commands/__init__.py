"""What commands do between parsing and printing: choose inputs, call a stage, say how it ended."""
